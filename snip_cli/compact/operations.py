"""Operations without weights that keep channels apart: what they make of constant channels.

An operation is known by what it consists of in PyTorch, whether a forward pass writes it as a module, a function, a
method or an operator.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from snip_cli.compact.graph import (
    ChannelMap,
    Channels,
    first_input,
    followed_input,
    has_state,
    one_to_one,
    shape_of,
    stored_tensor,
)
from snip_cli.compact.observe import Call

# They make every pixel from pixels of the same channel, so that a constant stays what it is.
COPIES = ("clone", "alias", "detach")
POOLS = (
    *COPIES,
    *("max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool3d"),
    *(
        "_adaptive_avg_pool2d",
        "_adaptive_avg_pool3d",
        "upsample_linear1d",
        "upsample_bilinear2d",
        "upsample_trilinear3d",
    ),
    *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d"),
    *("upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
    *("reflection_pad1d", "reflection_pad2d", "reflection_pad3d"),
    *("replication_pad1d", "replication_pad2d", "replication_pad3d"),
)
# They act along the axes that their second argument names.
ALONG_AXES = ("mean", "sum", "amax", "amin", "slice", "select", "squeeze", "unsqueeze", "flip")
CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)


def without_weights(node: fx.Node, graph: fx.GraphModule, found: ChannelMap) -> Channels | None:
    """Return the channels of an operation that has no weights; None if it has some or its effect on channels is
    unknown.
    """
    if len(shape_of(node)) < 2 or (node.op == "call_module" and has_state(graph.get_submodule(str(node.target)))):
        return None
    if any(found[each].axis != 1 for each in node.all_input_nodes if each in found):
        return _unmoved(node, found) or _pointwise(node, graph, found)
    if node.target in CONCATENATIONS:
        return _concatenate(node, found)
    source = followed_input(node, found)
    if source is not None and node.target is torch.flatten and node.args[1:] == (1,):
        return _flatten(node, found[source])
    if source is not None and (padded := pad(node, found[source].constant)) is not None:
        return padded
    return _pixelwise(node, found) or _pointwise(node, graph, found)


def _concatenate(node: fx.Node, found: ChannelMap) -> Channels | None:
    """Tensors one after another, along the channels or along the pixels."""
    sources: Any = node.args[0] if node.args else node.kwargs.get("tensors")
    [call] = node.meta["calls"]
    axis = (call.args[1] if len(call.args) > 1 else 0) % len(shape_of(node))
    if not isinstance(sources, list | tuple) or any(source not in found for source in sources) or axis == 0:
        return None
    constants = [found[source].constant for source in sources]
    if axis > 1:
        first_C = constants[0]
        same_C = torch.stack([constant_C == first_C for constant_C in constants]).all(dim=0)
        links = [(source, torch.arange(len(first_C))) for source in sources]
        return Channels(first_C.masked_fill(~same_C, torch.nan), links)
    owner_C = torch.cat([torch.full((len(constant),), place) for place, constant in enumerate(constants)])
    channel_C = torch.cat([torch.arange(len(constant)) for constant in constants])
    links = [(source, channel_C.masked_fill(owner_C != place, -1)) for place, source in enumerate(sources)]
    return Channels(torch.cat(constants), links)


def _flatten(node: fx.Node, source: Channels) -> Channels:
    """N×C×H×W → N×CHW: each channel becomes H·W features."""
    features = shape_of(node)[1]
    channel_C = torch.arange(features) // (features // len(source.constant))
    return Channels(source.constant[channel_C], [(first_input(node), channel_C)])


def _pointwise(node: fx.Node, graph: fx.GraphModule, found: ChannelMap) -> Channels | None:
    """A function of the same element of one or several tensors that have the same channels, and of numbers."""
    calls: list[Call] = node.meta["calls"]
    if not calls or not all(call.pointwise for call in calls):
        return None
    numbers = {each: value for each in node.all_input_nodes if (value := _number(each, graph)) is not None}
    sources = [each for each in node.all_input_nodes if each not in numbers]
    if not sources or any(each not in found for each in sources):
        return None
    axis = found[sources[0]].axis
    if any(found[each].axis != axis or not _is_aligned(each, node, axis) for each in sources):
        return None
    constants = {each: found[each].constant.to(_type(each), copy=True) for each in sources}
    constant_C = _evaluated(node, graph, {**numbers, **constants}, shape_of(node)[axis])
    varies_C = torch.stack([found[each].constant.isnan() for each in sources]).any(dim=0)
    constant_C = constant_C.masked_fill(varies_C, torch.nan)
    if len(calls) == 1 and calls[0].name in ("mul", "mul_"):
        zero_C = torch.stack([found[each].constant == 0 for each in sources]).any(dim=0)
        constant_C = constant_C.masked_fill(zero_C, 0.0)
    return Channels(constant_C, [(each, torch.arange(len(constant_C))) for each in sources], axis=axis)


def _is_aligned(source: fx.Node, node: fx.Node, axis: int) -> bool:
    """Whether a tensor has the channels of a result; its pixels may be repeated."""
    shape, whole = shape_of(source), shape_of(node)
    return len(shape) == len(whole) and shape[axis] == whole[axis]


def _unmoved(node: fx.Node, found: ChannelMap) -> Channels | None:
    """The same tensor or a copy of it; None for anything else."""
    source = followed_input(node, found)
    copies = all(call.name in COPIES for call in node.meta["calls"])
    if source is None or not copies or node.all_input_nodes != [source] or shape_of(node) != shape_of(source):
        return None
    return one_to_one(node, found[source].constant, found[source].axis)


def _type(node: fx.Node) -> torch.dtype:
    """The type to compute a tensor's constants in: that of a condition, else double precision."""
    return torch.bool if node.meta.get("type") is torch.bool else torch.float64


def _number(source: fx.Node, graph: fx.GraphModule) -> Tensor | None:
    """An input of a pointwise operation that is one number: NaN if its value is unknown. None for other inputs."""
    unknown = torch.tensor(torch.nan, dtype=torch.float64)
    if "size" in source.meta:
        return unknown
    if source.op != "get_attr" or any(side != 1 for side in shape_of(source)) or source.meta.get("unclear"):
        return None
    stored = stored_tensor(source, graph)
    return unknown if stored.is_meta else stored.detach().double().reshape(())


def _evaluated(node: fx.Node, graph: fx.GraphModule, values: dict[fx.Node, Tensor], count: int) -> Tensor:
    """What an operation makes of its inputs' constants, (C,); NaN where that is unknown."""
    args: Any = fx.map_arg(node.args, lambda each: values[each])
    kwargs: Any = fx.map_arg(node.kwargs, lambda each: values[each])
    function: Callable[..., Any]
    if node.op == "call_module":
        function = graph.get_submodule(str(node.target))
    else:
        function = getattr(torch.Tensor, node.target) if isinstance(node.target, str) else node.target
    unknown_C = torch.full((count,), torch.nan, dtype=torch.float64)
    try:
        result = function(*args, **kwargs)
    except Exception:  # a user's own function may need the shape of an image
        return unknown_C
    return result.double() if isinstance(result, Tensor) and result.shape == unknown_C.shape else unknown_C


def _pixelwise(node: fx.Node, found: ChannelMap) -> Channels | None:
    """Pooling, resizing, padding, slices and means of pixels: of one tensor, without leaving the channel."""
    source = followed_input(node, found)
    if source is None or shape_of(node)[:2] != shape_of(source)[:2]:
        return None
    tensors = [each for each in node.all_input_nodes if shape_of(each)]
    channel_C = torch.arange(shape_of(node)[1])
    if node.target == "expand_as":
        same = len(shape_of(source)) == len(shape_of(node)) and all(each in found for each in tensors)
        return Channels(found[source].constant, [(each, channel_C) for each in tensors]) if same else None
    calls: list[Call] = node.meta["calls"]
    if tensors != [source] or not (calls or shape_of(node) == shape_of(source)):
        return None
    constant_C: Tensor | None = found[source].constant
    for call in calls:
        constant_C = None if constant_C is None else _after(call, constant_C)
    return None if constant_C is None else Channels(constant_C, [(source, channel_C)])


def _after(call: Call, constant_C: Tensor) -> Tensor | None:
    """The constants after one of PyTorch's operations on N×C×…; None if it may mix channels."""
    if call.name in POOLS:
        return constant_C
    shape, options = call.args[0], call.args[1:]
    only_zero_C = torch.where(constant_C == 0, constant_C, torch.nan)
    if call.name in ALONG_AXES:
        axes = options[0] if options else None
        axes = [axes] if isinstance(axes, int) else axes
        rank = len(shape) + (call.name == "unsqueeze")
        if not axes or any(axis % rank < 2 for axis in axes):
            return None
        # A sum depends on the number of pixels, which another image may have more of.
        return only_zero_C if call.name == "sum" else constant_C
    if call.name == "transpose":
        return constant_C if all(axis % len(shape) >= 2 for axis in options) else None
    if call.name == "permute":
        return constant_C if [axis % len(shape) for axis in options[0][:2]] == [0, 1] else None
    if call.name == "as_strided_":  # of adaptive pooling to one pixel, for another memory format
        return constant_C if tuple(options[0]) == tuple(shape) else None
    if call.name in ("avg_pool2d", "avg_pool3d"):
        defaults: tuple[Any, ...] = ([0], False, True, None)
        padding, _, counts_padding, divisor = options[2:] + defaults[max(0, len(options) - 2) :]
        return only_zero_C if (counts_padding and any(padding)) or divisor is not None else constant_C
    if call.name == "constant_pad_nd":
        pads, value = options[0], options[1] if len(options) > 1 else 0.0
        inside = len(pads) <= 2 * (len(shape) - 2) and all(pad >= 0 for pad in pads)
        return torch.where(constant_C == value, constant_C, torch.nan) if inside else None
    return None


def pad(node: fx.Node, inner_C: Tensor) -> Channels | None:
    """Return the channels after a constant padding of N×C×H×W; None if `node` is anything else.

    Args:
        node: the operation.
        inner_C: the constants of the input's channels.
    """
    pads = constant_padding(node)
    if pads is None:
        return None
    given: Any = node.kwargs.get("value") or 0.0
    value = float(given)
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
