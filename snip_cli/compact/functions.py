"""What every function that is understood does to channels: sums, paddings, cuts, means and reshapes.

Shapes: C channels of what comes in or goes out.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from snip_cli.compact.channels import Channels, Flow, flattened, follow, shape_of

POINTWISE_FUNCTIONS = (F.relu, torch.relu, F.relu6, F.gelu, F.silu, torch.sigmoid, torch.tanh)


def _sum(node: fx.Node, found: Flow) -> Channels | None:
    """The sum of two tensors of one shape."""
    two = len(node.args) == 2 and all(isinstance(arg, fx.Node) and arg in found for arg in node.args)
    if not two or node.kwargs or shape_of(node.args[0]) != shape_of(node.args[1]):
        return None
    first, second = (found[arg].constant for arg in node.args)
    return Channels(first + second, [(arg, torch.arange(len(first))) for arg in node.args])


def _padded(node: fx.Node, found: Flow) -> Channels | None:
    """N×C×H×W with constants around it and, as in the shortcut of a residual net, whole channels of them."""
    return padded(node, found[node.args[0]].constant, float(node.kwargs.get("value") or 0.0))


def padded(node: fx.Node, inner_C: Tensor, value: float) -> Channels | None:
    """The channels `inner_C` with `value` where the node pads; None where that is no constant padding of N×C×H×W."""
    pads = pads_of(node)
    if pads is None:
        return None
    *around, before, after = pads
    if any(around):
        inner_C = torch.where(inner_C == value, inner_C, torch.nan)
    constant_C = torch.cat([inner_C.new_full((before,), value), inner_C, inner_C.new_full((after,), value)])
    none = torch.tensor([-1])
    channel_C = torch.cat([none.expand(before), torch.arange(len(inner_C)), none.expand(after)])
    return Channels(constant_C, [(node.args[0], channel_C)])


def pads_of(node: fx.Node) -> tuple[int, ...] | None:
    """(left, right, top, bottom, channels before, after) of a constant padding of N×C×H×W, None for anything else."""
    if node.target is not F.pad or len(node.args) != 2 or len(shape_of(node) or ()) != 4:
        return None
    pads = (*node.args[1], *[0] * (6 - len(node.args[1])))
    plain = len(pads) == 6 and all(isinstance(pad, int) and pad >= 0 for pad in pads)
    return pads if plain and node.kwargs.get("mode", "constant") == "constant" else None


def _cut(node: fx.Node, found: Flow) -> Channels | None:
    """Every image and channel, and some of the pixels."""
    index = node.args[1]
    if isinstance(index, tuple) and index[:2] == (slice(None),) * 2 and all(isinstance(part, slice) for part in index):
        return follow(node, found[node.args[0]].constant)
    return None


def _mean(node: fx.Node, found: Flow) -> Channels | None:
    """The mean over the pixels of N×C×H×W."""
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    over_pixels = isinstance(dims, list | tuple) and {dim % 4 for dim in dims} == {2, 3}
    if over_pixels and len(shape_of(node.args[0])) == 4:
        return follow(node, found[node.args[0]].constant)
    return None


def _flatten(node: fx.Node, found: Flow) -> Channels | None:
    return flattened(node, found[node.args[0]]) if node.args[1:] == (1,) and not node.kwargs else None


def _pooled(node: fx.Node, found: Flow) -> Channels | None:
    return follow(node, found[node.args[0]].constant) if len(shape_of(node)) == 4 else None


def _pointwise(node: fx.Node, found: Flow) -> Channels | None:
    if len(node.args) > 1 or node.all_input_nodes != [node.args[0]]:
        return None
    return follow(node, node.target(found[node.args[0]].constant.clone(), **node.kwargs))


FUNCTIONS: dict[Any, Callable[[fx.Node, Flow], Channels | None]] = {
    operator.add: _sum,
    torch.add: _sum,
    operator.getitem: _cut,
    F.pad: _padded,
    torch.flatten: _flatten,
    "flatten": _flatten,
    "mean": _mean,
    torch.mean: _mean,
    F.adaptive_avg_pool2d: _pooled,
    F.max_pool2d: _pooled,
    **dict.fromkeys(POINTWISE_FUNCTIONS, _pointwise),
}
