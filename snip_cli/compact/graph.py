"""A network as a graph of operations, and how operations without weights map input channels to output channels.

Compaction (network.py) and the effective sparsity (paths.py) both walk this graph: forwards to find the channels that
are constant, backwards to find the channels that the output depends on.

Shapes: C channels of a tensor (its axis 1, so features after a flatten); O outputs and I inputs of a layer.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from snip_cli.errors import ConfigError

POINTWISE_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU),
    *(nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.Softplus),
)
POINTWISE_FUNCTIONS = (F.relu, torch.relu, F.relu6, F.gelu, F.silu, torch.sigmoid, torch.tanh)


@dataclass
class Channels:
    """The channels of one tensor in the graph.

    constant (C,): the channel's value (float64) if it is the same for every image and pixel, else NaN.
    links: pairs (input node, channel_C). Channel c of this tensor is made from channel channel_C[c] of that input
        alone; -1 means from none.
    reads (O, I): whether output o of a layer has a weight for input i. None for an operation without weights.
    needed (C,): whether the network's output depends on the channel.
    kept (C,): whether compaction keeps the channel.
    """

    constant: Tensor
    links: list[tuple[fx.Node, Tensor]] = field(default_factory=list)
    reads: Tensor | None = None

    def __post_init__(self) -> None:
        self.needed = torch.zeros_like(self.constant, dtype=torch.bool)
        self.kept = torch.zeros_like(self.needed)

    @property
    def essential(self) -> Tensor:
        """(C,): whether the output depends on the channel and no constant can replace it."""
        return self.needed & self.constant.isnan()


ChannelMap = dict[fx.Node, Channels]


class Tracer(fx.Tracer):
    """Treats every convolution as one operation, also one that computes its own padding, and every module of the
    classes `leaves`.
    """

    def __init__(self, leaves: tuple[type[nn.Module], ...] = ()) -> None:
        super().__init__()
        self.leaves: tuple[type[nn.Module], ...] = (nn.Conv2d, *leaves)

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(module, self.leaves) or super().is_leaf_module(module, module_qualified_name)


def trace(model: nn.Module, shape: tuple[int, ...], leaves: tuple[type[nn.Module], ...] = ()) -> fx.GraphModule:
    """Return the network as a graph in inference mode; each operation knows the shape of its output for one image of
    `shape`.

    Raises ConfigError if the forward pass depends on more than the shape of its input.
    """
    try:
        graph = fx.GraphModule(model, Tracer(leaves).trace(model))
    except Exception as error:  # a user's forward pass may raise anything when it is given no numbers
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"This network cannot be made smaller, because torch.fx cannot follow its forward pass ({reason}): write that without conditions on its input."
        ) from error
    like = next(model.parameters())
    with torch.no_grad():
        ShapeProp(graph).propagate(torch.zeros(1, *shape, dtype=like.dtype, device=like.device))
    return graph.eval()


def mark_needed(found: ChannelMap) -> None:
    """Mark the channels that the output depends on, from the last operation to the first. Keep the essential ones."""
    for node, channels in reversed(found.items()):
        essential_C = channels.essential
        channels.kept |= essential_C
        for source, channel_C in channels.links:
            read = channel_C[essential_C]
            found[source].needed[read[read >= 0]] = True
        if channels.reads is not None:
            found[first_input(node)].needed |= channels.reads[essential_C].any(dim=0)


def is_tensor(node: fx.Node) -> bool:
    """Return whether an operation's output is one tensor."""
    return node.op != "output" and isinstance(node.meta.get("tensor_meta"), TensorMetadata)


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of an operation's output for one image; () if the output is not one tensor."""
    return tuple(node.meta["tensor_meta"].shape) if is_tensor(node) else ()


def first_input(node: fx.Node) -> fx.Node:
    """Return the first argument of an operation that reads a tensor."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def followed_input(node: fx.Node, found: ChannelMap) -> fx.Node | None:
    """Return the first argument of an operation if it is a tensor whose channels are known, else None."""
    source = node.args[0] if node.args else None
    return source if isinstance(source, fx.Node) and source in found else None


def one_to_one(node: fx.Node, constant_C: Tensor) -> Channels:
    """Return the channels of an operation that makes each output channel from the input channel of the same number."""
    return Channels(constant_C, [(first_input(node), torch.arange(len(constant_C)))])


def flatten(node: fx.Node, source: Channels) -> Channels:
    """Return the features of N×C×H×W → N×CHW: each channel becomes H·W features."""
    features = shape_of(node)[1]
    channel_C = torch.arange(features) // (features // len(source.constant))
    return Channels(source.constant[channel_C], [(first_input(node), channel_C)])


def pad(node: fx.Node, inner_C: Tensor, value: float) -> Channels | None:
    """Return the channels after a constant padding of N×C×H×W with `value`; None if `node` is anything else.

    Args:
        node: the operation.
        inner_C: the constants of the input's channels.
        value: what is padded with.
    """
    pads = constant_padding(node)
    if pads is None:
        return None
    *around, before, after = pads
    if any(around):
        inner_C = torch.where(inner_C == value, inner_C, torch.nan)
    constant_C = torch.cat([inner_C.new_full((before,), value), inner_C, inner_C.new_full((after,), value)])
    none = torch.tensor([-1])
    channel_C = torch.cat([none.expand(before), torch.arange(len(inner_C)), none.expand(after)])
    return Channels(constant_C, [(first_input(node), channel_C)])


def constant_padding(node: fx.Node) -> tuple[int, ...] | None:
    """Return (left, right, top, bottom, channels before, channels after) of a constant padding of N×C×H×W; None for
    anything else.
    """
    if node.target is not F.pad or len(node.args) != 2 or len(shape_of(node)) != 4:
        return None
    given = node.args[1]
    pads = [pad for pad in given if isinstance(pad, int) and pad >= 0] if isinstance(given, tuple | list) else []
    if not isinstance(given, tuple | list) or len(pads) != len(given) or len(pads) > 6:
        return None
    return (*pads, *[0] * (6 - len(pads))) if node.kwargs.get("mode", "constant") == "constant" else None


def without_weights(node: fx.Node, graph: fx.GraphModule, found: ChannelMap) -> Channels | None:
    """Return the channels of an operation that has no weights; None if it has some or its effect on channels is
    unknown.
    """
    source = followed_input(node, found)
    if source is None or len(shape_of(node)) < 2:
        return None
    if node.op == "call_module":
        return _module(node, graph.get_submodule(str(node.target)), found[source])
    rule = _FUNCTIONS.get(node.target)
    return rule(node, found) if rule is not None else None


def _module(node: fx.Node, module: nn.Module, source: Channels) -> Channels | None:
    kind = type(module)
    if kind in POINTWISE_MODULES:
        return one_to_one(node, module(source.constant.clone()))
    pools = kind in (nn.MaxPool2d, nn.AdaptiveAvgPool2d)
    pools = pools or (isinstance(module, nn.AvgPool2d) and kind is nn.AvgPool2d and module.padding in (0, (0, 0)))
    if kind in (nn.Identity, nn.Dropout, nn.Dropout2d) or (pools and len(shape_of(node)) == 4):
        return one_to_one(node, source.constant)
    if kind is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return flatten(node, source)
    return None


def _sum(node: fx.Node, found: ChannelMap) -> Channels | None:
    """The sum of two tensors of the same shape."""
    inputs = [arg for arg in node.args if isinstance(arg, fx.Node) and arg in found]
    if len(node.args) != 2 or len(inputs) != 2 or node.kwargs or shape_of(inputs[0]) != shape_of(inputs[1]):
        return None
    first, second = (found[each].constant for each in inputs)
    return Channels(first + second, [(each, torch.arange(len(first))) for each in inputs])


def _pad(node: fx.Node, found: ChannelMap) -> Channels | None:
    value: Any = node.kwargs.get("value") or 0.0
    return pad(node, found[first_input(node)].constant, float(value))


def _slice(node: fx.Node, found: ChannelMap) -> Channels | None:
    """A slice that keeps every image and channel, and some of the pixels."""
    index = node.args[1]
    if isinstance(index, tuple) and index[:2] == (slice(None),) * 2 and all(isinstance(part, slice) for part in index):
        return one_to_one(node, found[first_input(node)].constant)
    return None


def _mean(node: fx.Node, found: ChannelMap) -> Channels | None:
    """The mean over the pixels of N×C×H×W."""
    source = first_input(node)
    dims: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    over_pixels = isinstance(dims, list | tuple) and {dim % 4 for dim in dims} == {2, 3}
    return one_to_one(node, found[source].constant) if over_pixels and len(shape_of(source)) == 4 else None


def _flatten(node: fx.Node, found: ChannelMap) -> Channels | None:
    return flatten(node, found[first_input(node)]) if node.args[1:] == (1,) and not node.kwargs else None


def _pool(node: fx.Node, found: ChannelMap) -> Channels | None:
    return one_to_one(node, found[first_input(node)].constant) if len(shape_of(node)) == 4 else None


def _pointwise(node: fx.Node, found: ChannelMap) -> Channels | None:
    source, function = first_input(node), node.target
    if len(node.args) > 1 or node.all_input_nodes != [source]:
        return None
    assert callable(function)
    return one_to_one(node, function(found[source].constant.clone(), **node.kwargs))


_FUNCTIONS: dict[Any, Callable[[fx.Node, ChannelMap], Channels | None]] = {
    **dict.fromkeys((operator.add, torch.add), _sum),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys((torch.mean, "mean"), _mean),
    **dict.fromkeys((F.adaptive_avg_pool2d, F.max_pool2d), _pool),
    **dict.fromkeys(POINTWISE_FUNCTIONS, _pointwise),
    operator.getitem: _slice,
    F.pad: _pad,
}
