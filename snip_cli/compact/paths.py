"""Which of the parameters that a mask keeps lie on a path from an input to an output: what is missing of all is the effective sparsity.

So called by Vysogorets and Kempe ("Connectivity Matters: Neural Network Pruning Through the Lens of Effective Sparsity", 2023), of
connections. Which biases count is our choice, and so is that a path leads from channel to channel: a kept weight connects its two channels
wherever in the kernel it stands, also where it sees nothing but padding, and of a channel that is flattened all pixels are reached or none.

Shapes: O outputs and I inputs of a layer, J those of a group's I, K the pixels of a kernel; C channels.
"""

import copy
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from snip_cli.compact import recurrent
from snip_cli.compact.channels import Channels, Flow, find_needed, flattened, follow, shape_of, width
from snip_cli.compact.functions import padded
from snip_cli.compact.graph import traced
from snip_cli.compact.operations import understood
from snip_cli.models.prunable import prunable_parameters
from snip_cli.models.recurrent import RowByRow
from snip_cli.pruning.mask import Mask, layer_counts

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
RESHAPES = ("view", "reshape", torch.reshape)


class Paths:
    """A network's paths from its input to its output, followed once for all masks.

    Args:
        model: on any device, also without memory for its weights; it is left alone, and no weight of it is read.
        shape: of one image, (channels, height, width).
    """

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        self.model, self.shape = model, shape

    @cached_property
    def graph(self) -> fx.GraphModule | None:
        """The network's operations, None where they cannot be followed; looked at when something is pruned."""
        try:
            return traced(copy.deepcopy(self.model).to("meta").eval(), self.shape)
        except Exception:  # whatever a user's forward pass stumbles on when it is given no numbers
            return None

    @torch.no_grad()
    def effective(self, mask: Mask) -> Mask | None:
        """Of the parameters that a mask (bool by parameter name, True = kept) keeps those on a path, on the CPU; None where the paths are
        not known.

        A weight is on one if kept weights lead from the network's input to the channel or unit that it reads, and from the one that it
        writes to an output; a bias is if its channel or unit is. What cannot be pruned, as batch-norm, is always passed. Where nothing is
        pruned, every parameter counts.
        """
        mask = {name: keep.cpu() for name, keep in mask.items()}
        if all(keep.all() for keep in mask.values()):
            return mask
        if isinstance(self.model, RowByRow):
            return recurrent.on_paths(self.model, mask)
        if self.graph is None:
            return None
        layers = _connections(self.model, mask)
        found = _followed(self.graph, layers)
        return None if found is None else _on_paths(found, layers, mask)

    def counts(self, mask: Mask) -> dict[str, int] | None:
        """Per prunable layer how many parameters `effective` leaves; None where the paths are not known."""
        found = self.effective(mask)
        return None if found is None else {str(layer["name"]): int(layer["kept"]) for layer in layer_counts(found)}


@dataclass(frozen=True)
class Connections:
    """What a layer connects; its parameters by name, None where one is not there or is never pruned."""

    weight: str | None
    bias: str | None
    keep_OJK: Tensor
    groups: int

    def reads(self) -> Tensor:
        """(O, I): whether output o has a kept weight for input i."""
        reads_OJ = self.keep_OJK.any(dim=2)
        return reads_OJ if self.groups == 1 else torch.block_diag(*reads_OJ.chunk(self.groups))

    def between(self, reached_I: Tensor, wanted_O: Tensor) -> Tensor:
        """(O, J, K): the kept weights from an input that is reached to an output that is wanted."""
        reached_GJ = reached_I.view(self.groups, -1)
        reached_OJ = reached_GJ.repeat_interleave(len(wanted_O) // self.groups, dim=0)
        return self.keep_OJK & (reached_OJ & wanted_O[:, None])[:, :, None]


def _connections(model: nn.Module, mask: Mask) -> dict[str, Connections]:
    """The convolutions and linear layers by name."""
    names = {parameter: name for name, parameter in prunable_parameters(model).items()}
    made = {}
    for path, layer in model.named_modules(remove_duplicate=False):
        if isinstance(layer, LAYERS):
            weight = names.get(layer.weight)
            keep = torch.ones(layer.weight.shape, dtype=torch.bool) if weight is None else mask[weight]
            made[path] = Connections(
                weight, names.get(layer.bias), keep.reshape(*keep.shape[:2], -1), getattr(layer, "groups", 1)
            )
    return made


def _followed(graph: fx.GraphModule, layers: dict[str, Connections]) -> Flow | None:
    """The channels of every tensor in the graph: NaN, as `Channels` has it, where the input reaches them, and zero elsewhere.

    None where an operation is not understood.
    """
    found: Flow = {}
    for node in graph.graph.nodes:
        if node.op == "output":
            if any(source not in found for source in node.all_input_nodes):
                return None
            for source in node.all_input_nodes:
                found[source].needed[:] = True
        elif shape_of(node) is not None and node.op != "get_attr":  # neither a size nor a constant
            channels = _channels(node, graph, layers, found)
            if channels is None:
                return None
            channels.constant = torch.where(channels.constant.isnan(), torch.nan, 0.0)
            found[node] = channels
    find_needed(found)
    return found


def _channels(node: fx.Node, graph: fx.GraphModule, layers: dict[str, Connections], found: Flow) -> Channels | None:
    """The channels of one tensor, None where it is not known how they come from those before."""
    if node.op == "placeholder":
        return Channels(torch.full((width(node),), torch.nan, dtype=torch.float64))
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or source not in found:
        return None
    if node.op == "call_module":
        module, axes = graph.get_submodule(str(node.target)), len(shape_of(node))
        if isinstance(module, LAYERS):
            # Channels are the second of the axes: not those of a linear layer that reads several rows.
            whole = axes == 2 if isinstance(module, nn.Linear) else axes > 2
            return _read(layers[str(node.target)], found[source]) if whole else None
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return follow(node, found[source].constant)
    if node.target is F.pad:
        return padded(node, found[source].constant, 0.0)  # whatever it pads with, no input reaches that
    if node.target in RESHAPES and shape_of(node)[1:] == (prod(shape_of(source)[1:]),):
        return flattened(node, found[source])
    return understood(node, graph, found)


def _read(layer: Connections, source: Channels) -> Channels:
    """What a layer writes: reached where something that is reached is read."""
    reads_OI = layer.reads()
    reached_O = (reads_OI & source.constant.isnan()).any(dim=1)
    return Channels(torch.where(reached_O, torch.nan, 0.0).double(), reads=reads_OI)


def _on_paths(found: Flow, layers: dict[str, Connections], mask: Mask) -> Mask:
    """The kept parameters that lead from what is reached to what is wanted, at any place where their layer serves."""
    left = {name: torch.zeros_like(keep) for name, keep in mask.items()}
    for node, channels in found.items():
        if channels.reads is None:
            continue
        layer, wanted_O = layers[str(node.target)], channels.wanted
        if layer.weight is not None:
            on_OJK = layer.between(found[node.args[0]].constant.isnan(), wanted_O)
            left[layer.weight] |= on_OJK.view_as(left[layer.weight])
        if layer.bias is not None:
            left[layer.bias] |= mask[layer.bias] & wanted_O
    return left
