"""Layers with weights: which of their output channels are constant, and a smaller layer that computes the same.

Shapes: C channels; O outputs and I inputs of a layer; K pixels of a kernel.
"""

import copy

import torch
from torch import Tensor, fx, nn

from snip_cli.compact import norms
from snip_cli.compact.graph import Channels, one_to_one, shape_of, unknown
from snip_cli.compact.inserted import Ones, Selected
from snip_cli.models.prunable import is_depthwise
from snip_cli.models.tensorflow import SameConv2d

# What `resize` needs to know of a layer that changes: `inputs`, `outputs`, `bias`, and `ones` or `selected` if a module
# of that kind precedes it.
Size = dict[str, int | bool]
State = dict[str, Tensor]


# Layers that mix their input's channels and can be made smaller.
CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, SameConv2d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
Mixing = nn.modules.conv._ConvNd | nn.Linear


def with_weights(node: fx.Node, layer: nn.Module, source: Channels) -> Channels | None:
    """Return the output channels of a layer with weights in inference mode; None for a layer of an unknown kind."""
    kind, channels, rank = type(layer), len(source.constant), len(shape_of(node))
    if isinstance(layer, nn.Linear) and kind is nn.Linear:
        return _mix(layer, _features(layer, source, rank), axis=rank - 1)
    if isinstance(layer, nn.PReLU) and kind is nn.PReLU and layer.num_parameters == 1:
        constant_C = layer.weight.detach() * source.constant.clamp(max=0) + source.constant.clamp(min=0)
        return one_to_one(node, constant_C, source.axis)
    if source.axis != 1:
        return None
    if isinstance(layer, nn.modules.conv._ConvNd) and kind in CONVOLUTIONS:
        if channels != layer.in_channels or rank != len(layer.kernel_size) + 2:
            return None
        if is_depthwise(layer):
            return _filter_each(node, layer, source)
        return _mix(layer, source) if layer.groups == 1 else None
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and kind in norms.LAYERS and channels == layer.num_features:
        return norms.of_layer(node, layer, source)
    return None


def _features(layer: nn.Linear, source: Channels, rank: int) -> Channels:
    """The features that a linear layer reads from the last of `rank` axes. Where the channels lie on another axis,
    nothing is known of the features, and all stay.
    """
    if source.axis == rank - 1 and len(source.constant) == layer.in_features:
        return source
    source.needed[:] = source.kept[:] = True
    return unknown(layer.in_features)


def shrink(layer: nn.Module, source: Channels, own: Channels) -> tuple[Size, State] | None:
    """Return the size and state of a layer that reads the kept channels of `source` and writes those of `own`; None if
    nothing changes.
    """
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) or is_depthwise(layer):
        return _shrink_each(layer, own.kept)
    if isinstance(layer, nn.Linear):
        return _shrink_linear(layer, source, own)
    assert isinstance(layer, nn.modules.conv._ConvNd)
    return _shrink_convolution(layer, source, own)


def resize(layer: nn.Module, size: Size) -> nn.Module:
    """Return a layer like `layer` of another size, with weights that are not set."""
    new = copy.deepcopy(layer)
    inputs, outputs = size["inputs"], size["outputs"]
    if isinstance(new, nn.modules.batchnorm._BatchNorm):
        new.num_features = outputs
        for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
            if tensor.dim() == 1:
                empty = tensor.new_empty(outputs)
                setattr(new, name, nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty)
        return new
    assert isinstance(new, nn.modules.conv._ConvNd | nn.Linear)
    weight, each = new.weight, inputs
    if isinstance(new, nn.Linear):
        new.in_features, new.out_features = inputs, outputs
    else:
        if is_depthwise(new):
            new.groups, each = outputs, 1
        new.in_channels, new.out_channels = inputs, outputs
    sides = (each, outputs) if getattr(new, "transposed", False) else (outputs, each)
    new.weight = nn.Parameter(weight.new_empty(*sides, *weight.shape[2:]))
    new.bias = nn.Parameter(weight.new_empty(outputs)) if size["bias"] else None
    if "ones" in size:
        return nn.Sequential(Ones(), new)
    return nn.Sequential(Selected(inputs), new) if "selected" in size else new


def _outputs_first(layer: Mixing) -> Tensor:
    """The weight as outputs×inputs×kernel; a transposed convolution stores it as inputs×outputs×kernel."""
    weight = layer.weight.detach()
    return weight.transpose(0, 1) if getattr(layer, "transposed", False) else weight


def _pads_zeros(layer: nn.modules.conv._ConvNd) -> bool:
    """Whether the outputs of a convolution may differ from pixel to pixel when its input is constant: it reads zeros
    beyond the border, or it is a transposed one, whose pixels read different parts of the kernel.
    """
    if layer.transposed:
        return True
    if type(layer) is SameConv2d:
        return layer.kernel_size != (1, 1)
    return layer.padding_mode == "zeros" and layer.padding != "valid" and any(layer.padding)


def _mix(layer: Mixing, source: Channels, axis: int = 1) -> Channels:
    """A convolution of one group or a linear layer: an output is constant if everything that it reads is constant."""
    weight_OIK = _outputs_first(layer).double()
    weight_OIK = weight_OIK.reshape(*weight_OIK.shape[:2], -1)
    reads_OI = (weight_OIK != 0).any(dim=2)
    varies_I = source.constant.isnan()
    if isinstance(layer, nn.modules.conv._ConvNd) and _pads_zeros(layer):
        varies_I = varies_I | (source.constant != 0)
    value_O = weight_OIK.sum(dim=2) @ source.constant.nan_to_num()
    if layer.bias is not None:
        value_O = value_O + layer.bias.detach()
    varies_O = (reads_OI & varies_I).any(dim=1)
    return Channels(value_O.masked_fill(varies_O, torch.nan), reads=reads_OI, source=source, axis=axis)


def _filter_each(node: fx.Node, layer: nn.Conv2d, source: Channels) -> Channels:
    """A depthwise convolution, which filters every channel separately."""
    weight_CK = layer.weight.detach().double().flatten(1)
    constant_C = source.constant
    varies_C = constant_C.isnan() | ((constant_C != 0) & _pads_zeros(layer))
    value_C = weight_CK.sum(dim=1) * constant_C.nan_to_num()
    if layer.bias is not None:
        value_C = value_C + layer.bias.detach()
    return one_to_one(node, value_C.masked_fill(varies_C & (weight_CK != 0).any(dim=1), torch.nan))


def _shrink_each(layer: nn.Module, kept_C: Tensor) -> tuple[Size, State] | None:
    """Shrink a batch-norm or a depthwise convolution, which treat every channel separately."""
    if kept_C.all():
        return None
    count = int(kept_C.sum())
    size: Size = {"inputs": count, "outputs": count, "bias": getattr(layer, "bias", None) is not None}
    return size, {name: tensor[kept_C] if tensor.dim() else tensor for name, tensor in layer.state_dict().items()}


def _shrink_linear(layer: nn.Linear, source: Channels, own: Channels) -> tuple[Size, State] | None:
    """Shrink a linear layer to the varying inputs that it has a weight for. Constant inputs move into its bias."""
    assert own.reads is not None
    read_I = source.kept & source.constant.isnan() & own.reads[own.essential].any(dim=0)
    if not read_I.any():
        read_I[source.kept.nonzero()[0]] = True
    constant_I = source.constant.masked_fill(read_I, 0.0).nan_to_num()
    shift_O = layer.weight.detach().double() @ constant_I
    if own.kept.all() and read_I.all():
        return None
    size, state = _cut(layer, layer.weight[:, read_I], shift_O, own.kept)
    if not (source.kept & ~read_I).any():
        return size, state
    feature = read_I[source.kept].nonzero().squeeze(1)
    return {**size, "selected": True}, {"0.feature": feature, **_second_in_sequence(state)}


def _shrink_convolution(layer: nn.modules.conv._ConvNd, source: Channels, own: Channels) -> tuple[Size, State] | None:
    """Shrink a convolution to its kept inputs.

    Constant inputs move into its bias or, with zero padding, into a channel of ones.
    """
    kept_I = source.kept
    if kept_I.all() and own.kept.all():
        return None
    weight_OIK = _outputs_first(layer)
    constant_I = source.constant[~kept_I].nan_to_num()
    shift_OK = torch.einsum("oi...,i->o...", weight_OIK[:, ~kept_I].double(), constant_I)
    kept_OIK = weight_OIK[:, kept_I]
    if not _pads_zeros(layer):
        return _cut(layer, kept_OIK, shift_OK.flatten(1).sum(dim=1), own.kept)
    none_O = torch.zeros(len(weight_OIK), dtype=torch.float64)
    if not shift_OK[own.kept].any():
        return _cut(layer, kept_OIK, none_O, own.kept)
    with_ones = torch.cat([kept_OIK, shift_OK[:, None].to(kept_OIK.dtype)], dim=1)
    size, state = _cut(layer, with_ones, none_O, own.kept)
    return {**size, "ones": True}, _second_in_sequence(state)


def _cut(layer: Mixing, weight_OI: Tensor, shift_O: Tensor, kept_O: Tensor) -> tuple[Size, State]:
    """Return the size and state with the weight `weight_OI`, `shift_O` added to the bias, and the outputs `kept_O`."""
    shift_O = shift_O[kept_O]
    weight = weight_OI.detach()[kept_O]
    state = {"weight": (weight.transpose(0, 1) if getattr(layer, "transposed", False) else weight).contiguous()}
    if bias := layer.bias is not None or bool(shift_O.any()):
        old_O = 0.0 if layer.bias is None else layer.bias.detach()[kept_O].double()
        state["bias"] = (old_O + shift_O).to(weight_OI.dtype)
    return {"inputs": weight_OI.shape[1], "outputs": len(shift_O), "bias": bias}, state


def _second_in_sequence(state: State) -> State:
    return {f"1.{name}": tensor for name, tensor in state.items()}
