"""A network without what its zeros have emptied, which gives the same outputs; and the same network again from its sizes and state."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from snip_cli.compact import recurrent
from snip_cli.compact.channels import Flow
from snip_cli.compact.functions import pads_of
from snip_cli.compact.graph import flow, traced
from snip_cli.compact.layers import Size, State, shaped, shrunk
from snip_cli.models.recurrent import RowByRow


@dataclass(frozen=True)
class Compact:
    """A smaller network, in inference mode on the CPU.

    sizes: of every layer that changed; with `pads`, the channels that each padding adds, what `rebuilt` needs besides the state.
    layers: one record a layer: its inputs and outputs before and after, and how many outputs stay although they are empty.
    """

    network: nn.Module
    sizes: dict[str, Size]
    pads: list[list[int]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)


@torch.no_grad()
def compact(model: nn.Module, shape: tuple[int, ...]) -> Compact:
    """Remove every unit and channel that is constant or unread, for images of `shape` (channels, height, width).

    A constant goes into the bias of what reads it or, before zero padding, into one channel of ones. What is added to something
    that stays, as in a residual net, stays too. The outputs in inference mode are the same but for rounding; `model` is left alone.

    Raises ConfigError where torch.fx cannot follow the forward pass.
    """
    model = copy.deepcopy(model).cpu().eval()
    if isinstance(model, RowByRow):
        sizes, state = recurrent.shrunk(model)
        layers = [_record(name, layer, sizes.get(name)) for name, layer in model.named_children()]
        return Compact(rebuilt(model, shape, sizes, [], state), sizes, layers=layers)
    graph = traced(model, shape)
    found = flow(graph)
    sizes, state, layers = {}, graph.state_dict(), []
    for node, channels in found.items():
        layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, nn.Conv2d | nn.Linear | nn.modules.batchnorm._BatchNorm):
            continue
        name, known = str(node.target), bool(channels.links) or channels.reads is not None
        if known and (change := shrunk(layer, found[node.args[0]], channels)) is not None:
            sizes[name] = change[0]
            state = {key: tensor for key, tensor in state.items() if not key.startswith(f"{name}.")}
            state |= {f"{name}.{key}": tensor for key, tensor in change[1].items()}
        if isinstance(layer, nn.Conv2d | nn.Linear):
            held = int((channels.kept & ~channels.wanted).sum()) if known else 0
            layers.append(_record(name, layer, sizes.get(name), held))
    pads = _added_channels(graph, found)
    return Compact(rebuilt(model, shape, sizes, pads, state), sizes, pads, layers)


def rebuilt(
    model: nn.Module, shape: tuple[int, ...], sizes: dict[str, Size], pads: list[list[int]], state: State
) -> nn.Module:
    """The smaller network from the whole one and what `compact` found; inference mode, on the CPU."""
    model = copy.deepcopy(model).cpu().eval()
    if isinstance(model, RowByRow):
        network = recurrent.shaped(model, sizes) if sizes else model
    else:
        network = traced(model, shape)
        for name, size in sizes.items():
            network.set_submodule(name, shaped(network.get_submodule(name), size))
        for node, (before, after) in zip(_paddings(network), pads, strict=True):
            node.args = (node.args[0], (*pads_of(node)[:4], before, after))
        network.recompile()
    network.load_state_dict(state)
    return network.eval()


def _paddings(graph: fx.GraphModule) -> list[fx.Node]:
    """The operations that may add channels."""
    return [node for node in graph.graph.nodes if pads_of(node) is not None]


def _added_channels(graph: fx.GraphModule, found: Flow) -> list[list[int]]:
    """How many channels each padding adds before and after those that come in, when the others have gone."""
    added = []
    for node in _paddings(graph):
        before, after = pads_of(node)[4:]
        kept_C = found[node].kept
        added.append([int(kept_C[:before].sum()), int(kept_C[len(kept_C) - after :].sum())])
    return added


def _record(name: str, layer: nn.Module, size: Size | None, held: int = 0) -> dict[str, Any]:
    """What happened to one layer; `inputs` and `outputs` are pairs, before and after."""
    if isinstance(layer, nn.RNNBase):
        inputs, outputs = layer.input_size, layer.hidden_size
    elif isinstance(layer, nn.Linear):
        inputs, outputs = layer.in_features, layer.out_features
    else:
        inputs, outputs = layer.in_channels, layer.out_channels
    after = size or {"inputs": inputs, "outputs": outputs}
    record = {"name": name, "inputs": [inputs, after["inputs"]], "outputs": [outputs, after["outputs"]]}
    return {**record, "empty_but_kept": held, **{part: True for part in ("ones", "selected") if part in after}}
