"""What every operation that is understood does to channels; one that is not keeps all that it reads and gives.

Shapes: C channels of what comes in or goes out, O outputs and I inputs of a layer.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

from snip_cli.compact.channels import Channels, Flow
from snip_cli.models.tensorflow import SameConv2d

POINTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.Softplus)
UNCHANGED = (nn.Identity, nn.Dropout, nn.Dropout2d)
POINTWISE_FUNCTIONS = (F.relu, torch.relu, F.relu6, F.gelu, F.silu, torch.sigmoid, torch.tanh)
CONVOLUTIONS = (nn.Conv2d, SameConv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def understood(node: fx.Node, graph: fx.GraphModule, found: Flow) -> Channels | None:
    """The channels of what an operation gives, with constants and links; None where it is not known how it treats them."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or source not in found or width(node) is None:
        return None
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        return None if is_shared(node, module, graph) else _module(node, module, found[source])
    rule = FUNCTIONS.get(node.target)
    return rule(node, found) if rule is not None else None


def width(node: fx.Node) -> int | None:
    """Channels of a tensor, None where an operation gives no tensor or one without channels."""
    shape = shape_of(node)
    return shape[1] if shape is not None and len(shape) >= 2 else None


def shape_of(node: fx.Node) -> torch.Size | None:
    """Shape of what an operation gives for one image, None where that is no tensor."""
    meta = node.meta.get("tensor_meta") if node.op != "output" else None
    return meta.shape if isinstance(meta, TensorMetadata) else None


def is_shared(node: fx.Node, module: nn.Module, graph: fx.GraphModule) -> bool:
    """Whether a layer's parameters serve at another place too."""
    own = list(module.parameters())
    twice = sum(other.op == "call_module" and other.target == node.target for other in graph.graph.nodes) > 1
    everyone = [id(p) for part in graph.modules() for p in part.parameters(recurse=False)]
    return bool(own) and (twice or any(everyone.count(id(p)) > 1 for p in own))


def pads_zeros(layer: nn.Conv2d) -> bool:
    """Whether a convolution may see zeros beyond the border, where a constant input is constant no more."""
    if type(layer) is SameConv2d:
        return layer.kernel_size != (1, 1)
    return layer.padding_mode == "zeros" and layer.padding not in ("valid", (0, 0))


def is_depthwise(layer: nn.Conv2d) -> bool:
    """Whether every output of a convolution has one input to itself."""
    return 1 < layer.groups == layer.in_channels == layer.out_channels


def _module(node: fx.Node, module: nn.Module, source: Channels) -> Channels | None:
    kind = type(module)
    if kind in CONVOLUTIONS and (module.groups == 1 or is_depthwise(module)):
        return _depthwise(node, module, source) if is_depthwise(module) else _weighted(module, source)
    if kind is nn.Linear and len(shape_of(node)) == 2:
        return _weighted(module, source)
    if kind in NORMS and module.running_mean is not None:
        return follow(node, _normalised(module, source.constant))
    if kind in POINTWISE:
        return follow(node, module(source.constant.clone()))
    pools = kind in (nn.MaxPool2d, nn.AdaptiveAvgPool2d) or (kind is nn.AvgPool2d and module.padding in (0, (0, 0)))
    if kind in UNCHANGED or (pools and len(shape_of(node)) == 4):
        return follow(node, source.constant)
    if kind is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return flattened(node, source)
    return None


def follow(node: fx.Node, constant_C: Tensor) -> Channels:
    """Channel by channel what comes in."""
    return Channels(constant_C, [(node.args[0], torch.arange(len(constant_C)))])


def _weighted(layer: nn.Conv2d | nn.Linear, source: Channels) -> Channels:
    """A convolution of one group or a linear layer: an output is constant if all that it reads is."""
    weight_OIK = layer.weight.detach().double().reshape(*layer.weight.shape[:2], -1)
    reads_OI = (weight_OIK != 0).any(dim=2)
    constant_I = source.constant
    varies_I = constant_I.isnan()
    if isinstance(layer, nn.Conv2d) and pads_zeros(layer):
        varies_I = varies_I | (constant_I != 0)
    value_O = weight_OIK.sum(dim=2) @ constant_I.nan_to_num()
    if layer.bias is not None:
        value_O = value_O + layer.bias.detach()
    varies_O = (reads_OI & varies_I).any(dim=1)
    return Channels(value_O.masked_fill(varies_O, torch.nan), reads=reads_OI)


def _depthwise(node: fx.Node, layer: nn.Conv2d, source: Channels) -> Channels:
    """Every channel filtered by itself."""
    weight_CK = layer.weight.detach().double().flatten(1)
    constant_C = source.constant
    varies_C = constant_C.isnan() | ((constant_C != 0) & pads_zeros(layer))
    value_C = weight_CK.sum(dim=1) * constant_C.nan_to_num()
    if layer.bias is not None:
        value_C = value_C + layer.bias.detach()
    return follow(node, value_C.masked_fill(varies_C & (weight_CK != 0).any(dim=1), torch.nan))


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, constant_C: Tensor) -> Tensor:
    """Batch-norm in inference mode; what its scale sets to zero is constant whatever comes in."""
    scale_C = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale_C = scale_C * norm.weight.detach().double()
    shifted_C = (constant_C - norm.running_mean.double()) * scale_C
    shifted_C = torch.where(scale_C == 0, 0.0, shifted_C)
    return shifted_C + norm.bias.detach().double() if norm.affine else shifted_C


def flattened(node: fx.Node, source: Channels) -> Channels:
    """N×C×H×W → N×CHW: a channel becomes H·W features."""
    features = shape_of(node)[1]
    channel_C = torch.arange(features) // (features // len(source.constant))
    return Channels(source.constant[channel_C], [(node.args[0], channel_C)])


def _sum(node: fx.Node, found: Flow) -> Channels | None:
    """The sum of two tensors of one shape."""
    two = len(node.args) == 2 and all(isinstance(arg, fx.Node) and arg in found for arg in node.args)
    if not two or node.kwargs or shape_of(node.args[0]) != shape_of(node.args[1]):
        return None
    first, second = (found[arg].constant for arg in node.args)
    return Channels(first + second, [(arg, torch.arange(len(first))) for arg in node.args])


def _padded(node: fx.Node, found: Flow) -> Channels | None:
    """N×C×H×W with constants around it and, as in the shortcut of a residual net, whole channels of them."""
    pads = pads_of(node)
    if pads is None:
        return None
    *around, before, after = pads
    value = float(node.kwargs.get("value") or 0.0)
    inner_C = found[node.args[0]].constant
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
