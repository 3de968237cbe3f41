"""One layer without what has gone from it: which size it has then, and with which weights it computes the same.

Shapes: O outputs, I inputs, K the pixels of a kernel.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.compact.channels import Channels
from snip_cli.compact.operations import is_depthwise, pads_zeros

# Of a layer that changes: `inputs`, `outputs`, `bias`, and where there is such a part before it, `ones` or `selected`.
Size = dict[str, int | bool]
State = dict[str, Tensor]


class Ones(nn.Module):
    """Adds a channel of ones, N×C×H×W → N×(C+1)×H×W.

    It stands for all constant channels that a convolution with zero padding reads: their sum, which differs at the borders.
    """

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return F.pad(images_NCHW, (0, 0, 0, 0, 0, 1), value=1.0)


class Selected(nn.Module):
    """Those of N×I features that the next layer reads, by number; N×I → N×`count`."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("feature", torch.zeros(count, dtype=torch.int64))

    def forward(self, features_NI: Tensor) -> Tensor:
        return features_NI.index_select(1, self.feature)


def shaped(layer: nn.Module, size: Size) -> nn.Module:
    """A layer like `layer` of another size, its weights not set."""
    new = copy.deepcopy(layer)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        new.num_features = size["outputs"]
        for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
            if tensor.dim() == 1:
                empty = tensor.new_empty(size["outputs"])
                setattr(new, name, nn.Parameter(empty) if isinstance(tensor, nn.Parameter) else empty)
        return new
    names = ("in_features", "out_features") if isinstance(layer, nn.Linear) else ("in_channels", "out_channels")
    inputs, outputs = size["inputs"], size["outputs"]
    for name, count in zip(names, (inputs, outputs), strict=True):
        setattr(new, name, count)
    if isinstance(layer, nn.Conv2d) and is_depthwise(layer):
        new.groups, inputs = outputs, 1
    new.weight = nn.Parameter(layer.weight.new_empty(outputs, inputs, *layer.weight.shape[2:]))
    new.bias = nn.Parameter(layer.weight.new_empty(outputs)) if size["bias"] else None
    if "ones" in size:
        return nn.Sequential(Ones(), new)
    return nn.Sequential(Selected(inputs), new) if "selected" in size else new


def shrunk(layer: nn.Module, source: Channels, own: Channels) -> tuple[Size, State] | None:
    """Size and state of a layer that reads `source` and gives `own`, None where it stays as it is."""
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) or (isinstance(layer, nn.Conv2d) and is_depthwise(layer)):
        return _one_by_one(layer, own.kept)
    if isinstance(layer, nn.Linear):
        return _linear(layer, source, own)
    return _convolution(layer, source, own)


def _one_by_one(layer: nn.Module, kept_C: Tensor) -> tuple[Size, State] | None:
    """Batch-norm and depthwise convolution, which treat every channel by itself."""
    if kept_C.all():
        return None
    count = int(kept_C.sum())
    size: Size = {"inputs": count, "outputs": count, "bias": getattr(layer, "bias", None) is not None}
    return size, {name: tensor[kept_C] if tensor.dim() else tensor for name, tensor in layer.state_dict().items()}


def _linear(layer: nn.Linear, source: Channels, own: Channels) -> tuple[Size, State] | None:
    """Reads what varies of what it has a weight for; the constants go into its bias."""
    read_I = source.kept & source.constant.isnan() & own.reads[own.wanted].any(dim=0)
    if not read_I.any():
        read_I[source.kept.nonzero()[0]] = True
    constant_I = source.constant.masked_fill(read_I, 0.0).nan_to_num()
    shift_O = layer.weight.detach().double() @ constant_I
    selected = bool((source.kept & ~read_I).any())
    if own.kept.all() and read_I.all():
        return None
    size, state = _cut(layer, layer.weight[:, read_I], shift_O, own.kept)
    if not selected:
        return size, state
    feature = read_I[source.kept].nonzero().squeeze(1)
    return {**size, "selected": True}, {"0.feature": feature, **_inside(state)}


def _convolution(layer: nn.Conv2d, source: Channels, own: Channels) -> tuple[Size, State] | None:
    """Reads what is kept; constants that have gone into its bias or, where zeros are padded, into a channel of ones."""
    kept_I = source.kept
    if kept_I.all() and own.kept.all():
        return None
    weight_OIhw = layer.weight.detach()
    constant_I = source.constant[~kept_I].nan_to_num()
    shift_Ohw = torch.einsum("oihw,i->ohw", weight_OIhw[:, ~kept_I].double(), constant_I)
    kept_OIhw = weight_OIhw[:, kept_I]
    if not pads_zeros(layer):
        return _cut(layer, kept_OIhw, shift_Ohw.sum(dim=(1, 2)), own.kept)
    none_O = torch.zeros(len(weight_OIhw), dtype=torch.float64)
    if not shift_Ohw[own.kept].any():
        return _cut(layer, kept_OIhw, none_O, own.kept)
    with_ones = torch.cat([kept_OIhw, shift_Ohw[:, None].to(kept_OIhw.dtype)], dim=1)
    size, state = _cut(layer, with_ones, none_O, own.kept)
    return {**size, "ones": True}, _inside(state)


def _cut(layer: nn.Conv2d | nn.Linear, weight_OI: Tensor, shift_O: Tensor, kept_O: Tensor) -> tuple[Size, State]:
    """Size and state with `weight_OI`, a bias that is `shift_O` larger, and the outputs that are kept."""
    shift_O = shift_O[kept_O]
    bias = layer.bias is not None or bool(shift_O.any())
    state = {"weight": weight_OI.detach()[kept_O].contiguous()}
    if bias:
        old_O = 0.0 if layer.bias is None else layer.bias.detach()[kept_O].double()
        state["bias"] = (old_O + shift_O).to(weight_OI.dtype)
    return {"inputs": weight_OI.shape[1], "outputs": len(shift_O), "bias": bias}, state


def _inside(state: State) -> State:
    """The state of a layer that stands second in a sequence."""
    return {f"1.{name}": tensor for name, tensor in state.items()}
