"""Compaction: a smaller network with the same outputs, also rebuilt from its stored sizes and state."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from snip_cli.compact import recurrent
from snip_cli.compact.graph import (
    ChannelMap,
    Channels,
    constant_padding,
    first_input,
    followed_input,
    mark_needed,
    shape_of,
    trace,
    without_weights,
)
from snip_cli.compact.layers import Ones, Selected, Size, State, resize, shrink, with_weights
from snip_cli.models.recurrent import RowByRow


@dataclass(frozen=True)
class Compact:
    """A smaller network, in inference mode on the CPU.

    sizes: the size of every layer that changed, by name.
    pads: for each padding, how many channels it adds before and after. `rebuild` needs these, the sizes and the state.
    layers: one record per layer: its inputs and outputs before and after, and how many outputs stay although they are
        empty.
    """

    network: nn.Module
    sizes: dict[str, Size]
    pads: list[list[int]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)


@torch.no_grad()
def compact(model: nn.Module, shape: tuple[int, ...]) -> Compact:
    """Remove every unit and channel that is constant or that nothing reads, for images of `shape` (channels, height,
    width).

    A constant moves into the bias of the layer that reads it or, before zero padding, into one channel of ones. A
    channel that is added to a channel that stays, as in a residual network, stays too. In inference mode the outputs
    are equal up to rounding. `model` is not changed.

    Raises ConfigError if torch.fx cannot follow the forward pass.
    """
    model = copy.deepcopy(model).cpu().eval()
    if isinstance(model, RowByRow):
        sizes, state = recurrent.shrink(model)
        layers = [_record(name, layer, sizes.get(name)) for name, layer in model.named_children()]
        return Compact(rebuild(model, shape, sizes, [], state), sizes, layers=layers)
    graph = _trace(model, shape)
    found = _find_kept(graph)
    sizes, state, layers = {}, graph.state_dict(), []
    for node, channels in found.items():
        layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, nn.Conv2d | nn.Linear | nn.modules.batchnorm._BatchNorm):
            continue
        name, known = str(node.target), bool(channels.links) or channels.reads is not None
        if known and (change := shrink(layer, found[first_input(node)], channels)) is not None:
            sizes[name] = change[0]
            state = {key: tensor for key, tensor in state.items() if not key.startswith(f"{name}.")}
            state |= {f"{name}.{key}": tensor for key, tensor in change[1].items()}
        if isinstance(layer, nn.Conv2d | nn.Linear):
            held = int((channels.kept & ~channels.essential).sum()) if known else 0
            layers.append(_record(name, layer, sizes.get(name), held))
    pads = _kept_pads(graph, found)
    return Compact(rebuild(model, shape, sizes, pads, state), sizes, pads, layers)


def rebuild(
    model: nn.Module, shape: tuple[int, ...], sizes: dict[str, Size], pads: list[list[int]], state: State
) -> nn.Module:
    """Return the smaller network, made from the original `model` and what `compact` found, in inference mode on the
    CPU.
    """
    model = copy.deepcopy(model).cpu().eval()
    network: nn.Module
    if isinstance(model, RowByRow):
        network = recurrent.resize(model, sizes) if sizes else model
    else:
        network = graph = _trace(model, shape)
        for name, size in sizes.items():
            graph.set_submodule(name, resize(graph.get_submodule(name), size))
        for (node, old), (before, after) in zip(_paddings(graph), pads, strict=True):
            node.args = (node.args[0], (*old[:4], before, after))
        graph.recompile()
    network.load_state_dict(state)
    return network.eval()


def _trace(model: nn.Module, shape: tuple[int, ...]) -> fx.GraphModule:
    return trace(model, shape, leaves=(Ones, Selected))


def _find_kept(graph: fx.GraphModule) -> ChannelMap:
    """Find the channels of every tensor in the graph, and which of them must stay for the output to be the same."""
    found: ChannelMap = {}
    for node in graph.graph.nodes:
        channels = _channels(node, graph, found)
        if channels is None:  # an unknown operation: its inputs and its output stay as they are
            for source in node.all_input_nodes:
                if source in found:
                    found[source].needed[:] = found[source].kept[:] = True
            if len(shape := shape_of(node)) < 2:
                continue
            channels = Channels(torch.full((shape[1],), torch.nan, dtype=torch.float64))
            channels.needed[:] = channels.kept[:] = True
        found[node] = channels
    mark_needed(found)
    _keep_linked(found)
    for channels in found.values():
        if channels.reads is not None and not channels.kept.any():
            channels.kept[0] = True  # a layer needs at least one unit
            _keep_linked(found)
    return found


def _channels(node: fx.Node, graph: fx.GraphModule, found: ChannelMap) -> Channels | None:
    """Return the channels of one operation's output; None if it is unknown how the operation treats channels."""
    source = followed_input(node, found)
    if source is not None and node.op == "call_module" and len(shape_of(node)) >= 2:
        layer = graph.get_submodule(str(node.target))
        if any(True for _ in layer.parameters()) or isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return None if _is_shared(node, layer, graph) else with_weights(node, layer, found[source])
    return without_weights(node, graph, found)


def _is_shared(node: fx.Node, layer: nn.Module, graph: fx.GraphModule) -> bool:
    """Whether a layer's parameters are used at another place too."""
    own = list(layer.parameters())
    twice = sum(other.op == "call_module" and other.target == node.target for other in graph.graph.nodes) > 1
    everyone = [id(p) for part in graph.modules() for p in part.parameters(recurse=False)]
    return bool(own) and (twice or any(everyone.count(id(p)) > 1 for p in own))


def _keep_linked(found: ChannelMap) -> None:
    """Keep a channel at every place if it is kept at one: added or normalised tensors must have the same channels."""
    before, after = -1, 0
    while before != after:
        for channels in (*found.values(), *reversed(found.values())):
            for source, channel_C in channels.links:
                linked_C = channel_C >= 0
                found[source].kept[channel_C[linked_C & channels.kept]] = True
                channels.kept[linked_C] |= found[source].kept[channel_C[linked_C]]
        before, after = after, sum(int(channels.kept.sum()) for channels in found.values())


def _paddings(graph: fx.GraphModule) -> list[tuple[fx.Node, tuple[int, ...]]]:
    """The operations that may add channels, each with its padding."""
    paddings = ((node, constant_padding(node)) for node in graph.graph.nodes)
    return [(node, pads) for node, pads in paddings if pads is not None]


def _kept_pads(graph: fx.GraphModule, found: ChannelMap) -> list[list[int]]:
    """For each padding, how many of the channels that it adds before and after its input are kept."""
    kept = []
    for node, (*_, before, after) in _paddings(graph):
        kept_C = found[node].kept
        kept.append([int(kept_C[:before].sum()), int(kept_C[len(kept_C) - after :].sum())])
    return kept


def _record(name: str, layer: nn.Module, size: Size | None, held: int = 0) -> dict[str, Any]:
    """What happened to one layer; `inputs` and `outputs` are pairs, before and after."""
    if isinstance(layer, nn.RNNBase):
        inputs, outputs = layer.input_size, layer.hidden_size
    elif isinstance(layer, nn.Linear):
        inputs, outputs = layer.in_features, layer.out_features
    else:
        assert isinstance(layer, nn.Conv2d)
        inputs, outputs = layer.in_channels, layer.out_channels
    after = size or {"inputs": inputs, "outputs": outputs}
    record = {"name": name, "inputs": [inputs, after["inputs"]], "outputs": [outputs, after["outputs"]]}
    return {**record, "empty_but_kept": held, **{part: True for part in ("ones", "selected") if part in after}}
