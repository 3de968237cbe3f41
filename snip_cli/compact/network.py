"""Compaction: a smaller network with the same outputs, also rebuilt from its stored sizes and state."""

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx, nn

from snip_cli.compact import norms, recurrent
from snip_cli.compact.graph import (
    ChannelMap,
    Channels,
    followed_input,
    has_state,
    is_plain,
    mark_needed,
    shape_of,
    stored_tensor,
    unknown,
)
from snip_cli.compact.inserted import Ones, Selected
from snip_cli.compact.layers import Size, State, resize, shrink, with_weights
from snip_cli.compact.operations import constant_padding, without_weights
from snip_cli.compact.reshape import counts_channels
from snip_cli.compact.tracing import trace
from snip_cli.compact.verify import check_same, describe, inference_copy, make_reference
from snip_cli.models.recurrent import RowByRow


@dataclass(frozen=True)
class Compact:
    """A smaller network, in inference mode on the CPU.

    sizes: the size of every layer that changed, by name.
    pads: for each padding, how many channels it adds before and after. `rebuild` needs these, the sizes and the state.
    layers: one record per layer: its inputs and outputs before and after, and how many outputs stay although they are
        empty.
    stopped: the operations that compaction does not follow and that hold back empty channels.
    """

    network: nn.Module
    sizes: dict[str, Size]
    pads: list[list[int]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)


def stopped_sentence(stopped: Sequence[str], most: int = 5) -> str:
    """Return the sentence about the operations that kept empty channels from being removed."""
    more = f" and {len(stopped) - most} more" if len(stopped) > most else ""
    return f"some empty channels stay, because compaction does not follow {'; '.join(stopped[:most])}{more}"


@torch.no_grad()
def compact(model: nn.Module, shape: tuple[int, ...]) -> Compact:
    """Remove every unit and channel that is constant or that nothing reads, for inputs of `shape` (without the batch;
    for images: channels, height, width).

    A constant moves into the bias of the layer that reads it or, before zero padding, into one channel of ones. A
    channel that is added to a channel that stays, as in a residual network, stays too. Around an operation that is not
    followed everything stays; `stopped` names it. In inference mode the outputs are equal up to rounding, which is
    checked on random inputs. `model` is not changed; masks of `torch.nn.utils.prune` become zeros.

    Raises:
        ConfigError: the network does not take inputs of `shape`, its outputs are random, or torch.fx cannot follow its
            forward pass.
        RunError: the smaller network's outputs differ from the masked network's.
    """
    model = inference_copy(model)
    reference = make_reference(model, shape)
    exact = reference.model
    if isinstance(exact, RowByRow):
        sizes, state = recurrent.shrink(exact)
        layers = [_record(name, layer, sizes.get(name)) for name, layer in exact.named_children()]
        made = Compact(rebuild(exact, shape, sizes, [], state), sizes, layers=layers)
        check_same(reference, made.network, None, {})
    else:
        graph = _trace(exact, shape)
        found, stopped = _find_kept(graph)
        made = replace(_shrunk(exact, shape, graph, found), stopped=stopped)
        check_same(reference, made.network, graph, found)
    if exact is model:
        return made
    return replace(made, network=rebuild(model, shape, made.sizes, made.pads, made.network.state_dict()))


def _shrunk(model: nn.Module, shape: tuple[int, ...], graph: fx.GraphModule, found: ChannelMap) -> Compact:
    """The network with the kept channels alone."""
    sizes, state, layers = {}, graph.state_dict(), []
    for node, channels in found.items():
        if channels.links:
            state |= norms.shrink_stored(node, state, channels.kept)
        layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, nn.modules.conv._ConvNd | nn.Linear | nn.modules.batchnorm._BatchNorm):
            continue
        name, known = str(node.target), bool(channels.links) or channels.reads is not None
        if known and (change := shrink(layer, channels.source or channels, channels)) is not None:
            sizes[name] = change[0]
            state = {key: tensor for key, tensor in state.items() if not key.startswith(f"{name}.")}
            state |= {f"{name}.{key}": tensor for key, tensor in change[1].items()}
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
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
        norms.resize_stored(graph, state)
        for (node, old), (before, after) in zip(_paddings(graph), pads, strict=True):
            node.args = (node.args[0], (*old[:4], before, after))
        graph.recompile()
    network.load_state_dict(state)
    return network.eval()


def _trace(model: nn.Module, shape: tuple[int, ...]) -> fx.GraphModule:
    return trace(model, shape, leaves=(Ones, Selected))


def _find_kept(graph: fx.GraphModule) -> tuple[ChannelMap, list[str]]:
    """Find the channels of every tensor in the graph, which of them must stay for the output to be the same, and the
    operations that are not followed although they hold back empty channels.
    """
    _mark_shared(graph)
    found: ChannelMap = {}
    stopped = []
    for node in graph.graph.nodes:
        channels, source = _channels(node, graph, found), followed_input(node, found)
        if channels is None:  # an unknown operation: its inputs and its output stay as they are
            if "size" in node.meta and not counts_channels(node, found[source].axis if source else 1):
                continue
            if _holds_back(node, graph, found):
                stopped.append(describe(node, graph, _remark(node, graph)))
            for source in node.all_input_nodes:
                if source in found:
                    found[source].needed[:] = found[source].kept[:] = True
            if len(shape := shape_of(node)) < 2:
                continue
            channels = unknown(shape[1])
        elif remark := _kept_although_followed(channels, source, found):
            stopped += [describe(node, graph, remark)] if _holds_back(node, graph, found) else []
        found[node] = channels
    mark_needed(found)
    _keep_linked(found)
    for channels in found.values():
        if channels.reads is not None and not channels.kept.any():
            channels.kept[0] = True  # a layer needs at least one unit
            _keep_linked(found)
    return found, stopped


def _channels(node: fx.Node, graph: fx.GraphModule, found: ChannelMap) -> Channels | None:
    """Return the channels of one operation's output; None if it is unknown how the operation treats channels."""
    if not is_plain(node, graph):
        return None
    source = followed_input(node, found)
    if source is not None and node.op == "call_module" and len(shape_of(node)) >= 2:
        layer = graph.get_submodule(str(node.target))
        if has_state(layer) or isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return None if node.meta["shared"] else with_weights(node, layer, found[source])
    if source is not None and norms.stored_arguments(node):
        return None if node.meta["shared"] else norms.of_stored_tensors(node, graph, found[source])
    return without_weights(node, graph, found)


def _holds_back(node: fx.Node, graph: fx.GraphModule, found: ChannelMap) -> bool:
    """Whether an operation that is not followed reads constant channels, or is a layer with outputs that read nothing."""
    if node.op == "output":
        return False
    if any(not found[source].constant.isnan().all() for source in node.all_input_nodes if source in found):
        return True
    weight = getattr(graph.get_submodule(str(node.target)), "weight", None) if node.op == "call_module" else None
    return isinstance(weight, torch.Tensor) and weight.dim() > 1 and not bool(weight.flatten(1).any(dim=1).all())


def _kept_although_followed(channels: Channels, source: fx.Node | None, found: ChannelMap) -> str:
    """Why an operation that is followed keeps all channels of its input; "" if it does not."""
    if any(linked.op == "get_attr" for linked, _ in channels.links):
        return "with a stored tensor"
    if source is None or channels.source is None or channels.source is found[source]:
        return ""
    return "" if found[source].constant.isnan().all() else "along another axis than the channels"


def _remark(node: fx.Node, graph: fx.GraphModule) -> str:
    """Why an operation is not followed, where its name does not say it."""
    if node.meta.get("unclear"):
        return "changed in place"
    layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    if layer is not None and not is_plain(node, graph):
        return "with a hook or a forward pass of its own"
    if node.meta["shared"]:
        return "whose parameters are used elsewhere too"
    groups = getattr(layer, "groups", 1)
    return f"of {groups} groups" if groups != 1 else ""


def _mark_shared(graph: fx.GraphModule) -> None:
    """Mark the layers whose parameters or buffers are used at another place too: another size would not fit there."""
    places = Counter(
        id(tensor)
        for part in graph.modules()
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False))
    )
    read = {node: norms.stored_tensors(node, graph) for node in graph.graph.nodes}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            layer = graph.get_submodule(str(node.target))
            read[node] = [*layer.parameters(), *layer.buffers()]
            places.update(map(id, read[node]))
        elif node.op == "get_attr":  # an operation that reads a tensor by name instead of through its layer
            places[id(stored_tensor(node, graph))] += len(node.users)
    for node, tensors in read.items():
        # One place is where the tensor is stored, one is this operation.
        node.meta["shared"] = any(places[id(tensor)] > 2 for tensor in tensors)


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
        assert isinstance(layer, nn.modules.conv._ConvNd)
        inputs, outputs = layer.in_channels, layer.out_channels
    after = size or {"inputs": inputs, "outputs": outputs}
    record = {"name": name, "inputs": [inputs, after["inputs"]], "outputs": [outputs, after["outputs"]]}
    return {**record, "empty_but_kept": held, **{part: True for part in ("ones", "selected") if part in after}}
