"""What every operation that is understood does to channels, layers here and functions in `functions`; one that is not keeps all that it
reads and gives.

Shapes: C channels of what comes in or goes out, O outputs and I inputs of a layer.
"""

import torch
from torch import Tensor, fx, nn

from snip_cli.compact.channels import Channels, Flow, flattened, follow, shape_of, width
from snip_cli.compact.functions import FUNCTIONS
from snip_cli.models.tensorflow import SameConv2d

POINTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.Softplus)
UNCHANGED = (nn.Identity, nn.Dropout, nn.Dropout2d)
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
