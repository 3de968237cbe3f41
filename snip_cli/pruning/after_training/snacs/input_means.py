"""A layer's mean output for any mask of its connections, without running the network again.

The mean of a convolution's output over the image is linear in its kernels: mean(y) = Σ W[c, k] · mean(x shifted to place k of the kernel)
+ bias. So the means of the shifted inputs, taken once, give it for every mask of W by one product of matrices.

Shapes: N images, I input channels, K places of the kernel (1 for a linear layer), C output channels.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.models.tensorflow import SameConv2d
from snip_cli.pruning.after_training.snacs.layers import require_finite, watched

# How much memory the means of several layers take at the most: with more, fewer passes through the network are needed.
MEMORY_MB = 1024


def first_that_fit(model: nn.Module, layers: Sequence[str], images: int, memory_mb: int = MEMORY_MB) -> Sequence[str]:
    """The first of the named layers, at least one, of which the means of so many images fit into `memory_mb` together."""
    left = memory_mb * 2**20
    for count, name in enumerate(layers):
        weight = model.get_submodule(name).weight
        left -= images * weight[0].numel() * weight.element_size()
        if left < 0:
            return layers[: max(count, 1)]
    return layers


def input_means(model: nn.Module, batches: Iterable[Batch], layers: Collection[str]) -> dict[str, Tensor]:
    """For each of the named layers the mean of its input as each place of the kernel meets it: N×I×K on the CPU, in the model's type.

    They take N · I · K numbers, 37 MB in float32 for 2,000 images and 3×3 kernels on 512 channels, and those of the largest layer for a
    moment once more. The model is left as it was.

    Raises:
        ConfigError: an output is not finite, or a layer computes something else than its kernels' plain convolution.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, layer: nn.Conv2d | nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        conv = isinstance(layer, nn.Conv2d)
        means_NIK = shifted_means(layer, inputs[0], output.shape[2:]) if conv else inputs[0][:, :, None].clone()
        real_NC = output.mean(dim=(2, 3)) if conv else output
        require_finite(name, real_NC)
        if not parts[name]:
            check(name, mean_outputs(means_NIK, layer.weight, layer.bias), real_NC)
        parts[name].append(means_NIK.cpu())

    watched(model, batches, {name: partial(keep, name) for name in parts})
    return {name: torch.cat(parts.pop(name)) for name in list(parts)}  # no layer's parts outlive their whole


def shifted_means(layer: nn.Conv2d, input_NIHW: Tensor, output_size: torch.Size) -> Tensor:
    """The mean of the input over the places that each place of the kernel meets as it moves over the image, N×I×K."""
    padded_NIHW = padded(layer, input_NIHW)
    for axis, out in zip((2, 3), output_size, strict=True):  # one axis after the other: k sums each, not k²
        kernel, stride, dilation = (getattr(layer, name)[axis - 2] for name in ("kernel_size", "stride", "dilation"))
        moved = [padded_NIHW.narrow(axis, place * dilation, (out - 1) * stride + 1) for place in range(kernel)]
        every = (slice(None),) * axis + (slice(None, None, stride),)
        padded_NIHW = torch.stack([part[every].mean(dim=axis) for part in moved], dim=axis)
    return padded_NIHW.flatten(2)


def padded(layer: nn.Conv2d, input_NIHW: Tensor) -> Tensor:
    """The input as the convolution pads it."""
    if isinstance(layer, SameConv2d):
        return F.pad(input_NIHW, layer.padding_of(input_NIHW))
    # What nn.Conv2d itself keeps for F.pad, whether its padding is named or given in pixels.
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(input_NIHW, layer._reversed_padding_repeated_twice, mode=mode)


def mean_outputs(means_NIK: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The mean output N×C of a layer with the given weight, C×I(×kernel), pruned or not."""
    outputs_NC = means_NIK.flatten(1) @ weight.flatten(1).T
    return outputs_NC if bias is None else outputs_NC + bias


def check(name: str, computed_NC: Tensor, real_NC: Tensor) -> None:
    """Raise ConfigError unless the product gives what the layer gave; a difference of rounding (TF32 on a GPU) is none."""
    scale = float(real_NC.abs().max())
    if not torch.allclose(computed_NC, real_NC, rtol=0.0, atol=1e-2 * scale):
        raise ConfigError(
            f"Layer '{name}' computes something else than a plain convolution or product with its weight, and SNACS cannot set its limit: choose another model."
        )
