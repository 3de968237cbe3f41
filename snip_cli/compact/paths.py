"""Effective sparsity: which kept parameters lie on a path from an input to an output of the network.

The name is from Vysogorets and Kempe ("Connectivity Matters: Neural Network Pruning Through the Lens of Effective
Sparsity", 2023), who count connections. Two things are our choice: which biases count, and that a path leads from
channel to channel. A kept weight connects its two channels wherever it lies in the kernel, even if it only ever reads
padding; of a channel that is flattened, all pixels are reached or none.

Shapes: O outputs and I inputs of a layer, J inputs of one group, K pixels of a kernel; C channels.
"""

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from snip_cli.compact import norms, recurrent
from snip_cli.compact.graph import (
    ChannelMap,
    Channels,
    first_input,
    followed_input,
    is_plain,
    mark_needed,
    one_to_one,
    shape_of,
)
from snip_cli.compact.operations import without_weights
from snip_cli.compact.reshape import counts_channels
from snip_cli.compact.tracing import trace
from snip_cli.models.prunable import prunable_parameters
from snip_cli.models.recurrent import RowByRow
from snip_cli.pruning.mask import Mask, layer_counts

Layer = nn.Linear | nn.modules.conv._ConvNd


class Paths:
    """The paths from a network's input to its output. The network is traced once, for all masks.

    Args:
        model: the network, on any device, also on the meta device. It is not changed and its weights are not read.
        shape: the shape of one image, (channels, height, width).
    """

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        self.model, self.shape = model, shape
        self._unused: set[str] | None = None

    @cached_property
    def graph(self) -> fx.GraphModule | None:
        """The network's operations; None if torch.fx cannot follow them. Traced only when something is pruned."""
        try:
            return trace(copy.deepcopy(self.model).to("meta").eval(), self.shape)
        except Exception:  # a user's forward pass may raise anything when it is given no numbers
            return None

    @torch.no_grad()
    def effective(self, mask: Mask) -> Mask | None:
        """Return the part of a mask (bool by parameter name, True = kept) that lies on a path, on the CPU; None if the
        paths are unknown.

        A weight is on a path if kept weights lead from the network's input to the channel or unit that it reads, and
        from the one that it writes to an output. A bias is on a path if its channel or unit is. A layer that cannot be
        pruned, such as batch-norm, never interrupts a path. If nothing is pruned, every parameter counts.
        """
        mask = {name: keep.cpu() for name, keep in mask.items()}
        if all(keep.all() for keep in mask.values()):
            return mask
        return self._followed(mask)

    def _followed(self, mask: Mask) -> Mask | None:
        """Return `effective` of a mask on the CPU, whatever it keeps."""
        if isinstance(self.model, RowByRow):
            return recurrent.on_paths(self.model, mask)
        if self.graph is None:
            return None
        layers = _masked_layers(self.model, mask)
        found = _follow(self.graph, layers)
        return None if found is None else _on_paths(found, layers, mask)

    def counts(self, mask: Mask) -> dict[str, int] | None:
        """Return how many parameters of each prunable layer are on a path, by layer name; None if the paths are
        unknown.

        A layer that no path passes even if everything is kept, such as one that the forward pass does not use, is left
        out.
        """
        found = self.effective(mask)
        if found is None:
            return None
        counts = {layer.name: layer.kept for layer in layer_counts(found)}
        if not all(counts.values()) and self._unused is None:
            whole = self._followed({name: torch.ones_like(keep) for name, keep in found.items()})
            self._unused = {layer.name for layer in layer_counts(whole or {}) if layer.kept == 0}
        return {name: count for name, count in counts.items() if count or name not in (self._unused or ())}


@dataclass(frozen=True)
class MaskedLayer:
    """A convolution or linear layer: the names of its prunable parameters (None if absent or frozen) and its weight's
    mask, in a transposed convolution with outputs before inputs.
    """

    weight: str | None
    bias: str | None
    keep_OJK: Tensor
    groups: int
    transposed: bool

    def reads(self) -> Tensor:
        """(O, I): whether output o has a kept weight for input i."""
        reads_OJ = self.keep_OJK.any(dim=2)
        return reads_OJ if self.groups == 1 else torch.block_diag(*reads_OJ.chunk(self.groups))

    def on_path(self, reached_I: Tensor, essential_O: Tensor) -> Tensor:
        """(O, J, K): the kept weights from an input that is reached to an output that leads on."""
        reached_GJ = reached_I.view(self.groups, -1)
        reached_OJ = reached_GJ.repeat_interleave(len(essential_O) // self.groups, dim=0)
        return self.keep_OJK & (reached_OJ & essential_O[:, None])[:, :, None]


def _masked_layers(model: nn.Module, mask: Mask) -> dict[str, MaskedLayer]:
    """The convolutions and linear layers by name."""
    names: dict[Tensor | None, str] = {parameter: name for name, parameter in prunable_parameters(model).items()}
    made = {}
    for path, layer in model.named_modules(remove_duplicate=False):
        if isinstance(layer, Layer):
            weight = names.get(layer.weight)
            keep = torch.ones(layer.weight.shape, dtype=torch.bool) if weight is None else mask[weight]
            keep_OJK, transposed = keep.reshape(*keep.shape[:2], -1), getattr(layer, "transposed", False)
            keep_OJK = keep_OJK.transpose(0, 1) if transposed else keep_OJK
            made[path] = MaskedLayer(weight, names.get(layer.bias), keep_OJK, getattr(layer, "groups", 1), transposed)
    return made


def _follow(graph: fx.GraphModule, layers: dict[str, MaskedLayer]) -> ChannelMap | None:
    """Find the channels that the input reaches (NaN in `constant`, as in compaction; 0 elsewhere) and those that the
    output needs.

    Returns None if an operation is unknown.
    """
    found: ChannelMap = {}
    for node in graph.graph.nodes:
        if node.op == "output":
            if any(source not in found for source in node.all_input_nodes):
                return None
            for source in node.all_input_nodes:
                found[source].needed[:] = True
        elif node.op == "get_attr" or not (shape_of(node) or any(each in found for each in node.all_input_nodes)):
            continue  # a stored tensor, or what is made of numbers alone
        elif "size" in node.meta:
            if counts_channels(node):
                return None
        else:
            channels = _channels(node, graph, layers, found)
            if channels is None:
                return None
            found[node] = channels
    mark_needed(found)
    return found


def _channels(
    node: fx.Node, graph: fx.GraphModule, layers: dict[str, MaskedLayer], found: ChannelMap
) -> Channels | None:
    """Return the channels of one operation's output; None if it is unknown how the operation treats channels."""
    shape = shape_of(node)
    if len(shape) < 2 or not is_plain(node, graph):
        return None
    if node.op == "placeholder":
        return Channels(torch.full((shape[1],), torch.nan, dtype=torch.float64))
    source = followed_input(node, found)
    if source is not None and node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        if isinstance(module, Layer):
            # A linear layer on several rows has its channels in the last axis, not in the second.
            whole = len(shape) == 2 if isinstance(module, nn.Linear) else len(shape) > 2
            layer = layers[str(node.target)]
            # A transposed convolution of groups stores the outputs of one group alone.
            return _read(layer, found[source]) if whole and not (layer.transposed and layer.groups > 1) else None
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return one_to_one(node, found[source].constant)
    if source is not None and norms.stored_arguments(node):
        return one_to_one(node, found[source].constant)
    channels = without_weights(node, graph, found)
    return None if channels is None else _reached(channels, found)


def _reached(channels: Channels, found: ChannelMap) -> Channels:
    """The same channels, of which the input reaches those that are made from one that it reaches, whatever a constant
    there does to them.
    """
    reached_C = torch.zeros_like(channels.needed)
    for source, channel_C in channels.links:
        reached_C |= found[source].constant.isnan()[channel_C] & (channel_C >= 0)
    return Channels(torch.where(reached_C, torch.nan, 0.0).double(), channels.links)


def _read(layer: MaskedLayer, source: Channels) -> Channels:
    """A layer's output channels: reached if the layer reads an input that is reached."""
    reads_OI = layer.reads()
    reached_O = (reads_OI & source.constant.isnan()).any(dim=1)
    return Channels(torch.where(reached_O, torch.nan, 0.0).double(), reads=reads_OI, source=source)


def _on_paths(found: ChannelMap, layers: dict[str, MaskedLayer], mask: Mask) -> Mask:
    """Return the kept parameters on a path; a layer that is used at several places counts at any of them."""
    on_path = {name: torch.zeros_like(keep) for name, keep in mask.items()}
    for node, channels in found.items():
        if channels.reads is None:
            continue
        layer, essential_O = layers[str(node.target)], channels.essential
        if layer.weight is not None:
            on_OJK = layer.on_path(found[first_input(node)].constant.isnan(), essential_O)
            on_OJK = on_OJK.transpose(0, 1) if layer.transposed else on_OJK
            on_path[layer.weight] |= on_OJK.reshape(on_path[layer.weight].shape)
        if layer.bias is not None:
            on_path[layer.bias] |= mask[layer.bias] & essential_O
    return on_path
