"""The probe that judges a pruned layer: how well a classifier tells the classes apart by the layer's mean outputs.

The mean outputs of a pruned layer need no further pass through the network. The mean of a convolution's output over the image is linear in
its kernels: mean(y) = Σ_k W[c, k] · mean(x shifted to place k of the kernel) + bias. So the means of the shifted inputs, computed once,
give it for every mask of W by one matrix product.

Shapes: N images, I input channels, K places of the kernel (1 for a linear layer), C output channels.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial

import numpy
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.models.tensorflow import SameConv2d
from snip_cli.pruning.after_training.activations import require_finite_outputs, run_with_hooks
from snip_cli.pruning.method import Narrowable

# Largest memory of the input means of several layers. More memory saves passes through the network.
MEMORY_MB = 1024


class Probe:
    """scikit-learn's support vector classifier (RBF kernel, C = 1, tol = 1e-5), as in the authors' code, on outputs clamped at 0.

    It learns from the layer as it is and is evaluated on the layer as it is pruned. It sees almost nothing of a layer whose mean outputs are
    negative for nearly all images. Its time grows with the square of the number of classes. The kernel is computed here, by one matrix
    product: this is several times as fast as scikit-learn's own loop and differs only by rounding.
    """

    def __init__(self, outputs_NC: Tensor, labels_N: Tensor) -> None:
        from sklearn.svm import SVC  # takes seconds to import, and other methods do not need it

        self._learned = _features(outputs_NC)
        self._labels = labels_N.cpu().numpy()
        variance = float(self._learned.var())
        # What scikit-learn calls gamma="scale".
        self._gamma = 1 / (self._learned.shape[1] * variance) if variance > 0 else 1.0
        self._classifier = SVC(kernel="precomputed", tol=1e-5, random_state=0)
        self._classifier.fit(self._kernel(self._learned), self._labels)

    def accuracy(self, outputs_NC: Tensor) -> float:
        """Return the part of the images, in [0, 1], that are classified correctly by other outputs of the layer."""
        found = self._classifier.predict(self._kernel(_features(outputs_NC)))
        return float((found == self._labels).mean())

    def _kernel(self, features_MC: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
        products_MN = features_MC @ self._learned.T
        squares_M, squares_N = ((x**2).sum(axis=1) for x in (features_MC, self._learned))
        distances_MN = squares_M[:, None] + squares_N - 2 * products_MN
        return numpy.exp(-self._gamma * numpy.maximum(distances_MN, 0, out=distances_MN), out=distances_MN)


def _features(outputs_NC: Tensor) -> NDArray[numpy.float64]:
    return outputs_NC.detach().cpu().double().clamp_min(0).numpy()


def require_classes(labels_N: Tensor) -> None:
    """Raise ConfigError unless the images belong to at least two classes."""
    if len(labels_N.unique()) < 2:
        raise ConfigError(
            "The images that the limits are found with are not of several classes: give some of each, as method.samples_per_class does."
        )


def guessing_accuracy(labels_N: Tensor) -> float:
    """Return the part of the images, in [0, 1], that belong to the most frequent class."""
    return float(labels_N.bincount().max()) / len(labels_N)


def first_classes(batches: Iterable[Batch], classes: int) -> Iterator[Batch]:
    """Yield the images of the first `classes` classes, in their order. A sample does not even read the others."""
    if isinstance(batches, Narrowable):
        yield from batches.of_first_classes(classes)
        return
    for images, labels in batches:
        if (keep := labels < classes).any():
            yield images[keep], labels[keep]


def layers_that_fit(model: nn.Module, layers: Sequence[str], images: int) -> Sequence[str]:
    """Return the first of the named layers, at least one, whose input means fit into MEMORY_MB together."""
    left = MEMORY_MB * 2**20
    for count, name in enumerate(layers):
        weight = model.get_parameter(f"{name}.weight")
        left -= images * weight[0].numel() * weight.element_size()
        if left < 0:
            return layers[: max(count, 1)]
    return layers


def input_means(model: nn.Module, batches: Iterable[Batch], layers: Collection[str]) -> dict[str, Tensor]:
    """Return, for each named layer, the mean of its input as each place of the kernel meets it: N×I×K on the CPU, in the model's type.

    A layer takes N · I · K numbers: 37 MB in float32 for 2,000 images and 3×3 kernels on 512 channels. The largest layer takes this twice
    for a moment. The model is left unchanged.

    Raises ConfigError for an output that is not finite, and for a layer that computes something else than a convolution or product.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, layer: nn.Conv2d | nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            means_NIK, real_NC = shifted_means(layer, inputs[0], output.shape[2:]), output.mean(dim=(2, 3))
        else:
            means_NIK, real_NC = inputs[0][:, :, None].clone(), output
        require_finite_outputs(name, real_NC)
        if not parts[name]:
            require_linear(name, mean_outputs(means_NIK, layer.weight, layer.bias), real_NC)
        parts[name].append(means_NIK.cpu())

    run_with_hooks(model, batches, {name: partial(keep, name) for name in parts})
    # A layer's parts are dropped as soon as they are joined.
    return {name: torch.cat(parts.pop(name)) for name in list(parts)}


def shifted_means(layer: nn.Conv2d, input_NIHW: Tensor, output_size: torch.Size) -> Tensor:
    """Return the mean of the input over the places that each place of the kernel meets as it moves over the image, N×I×K."""
    padded_NIHW = pad(layer, input_NIHW)
    for axis, out in zip((2, 3), output_size, strict=True):  # one axis after the other: k sums each instead of k²
        kernel, stride, dilation = (getattr(layer, name)[axis - 2] for name in ("kernel_size", "stride", "dilation"))
        moved = [padded_NIHW.narrow(axis, place * dilation, (out - 1) * stride + 1) for place in range(kernel)]
        every = (slice(None),) * axis + (slice(None, None, stride),)
        padded_NIHW = torch.stack([part[every].mean(dim=axis) for part in moved], dim=axis)
    return padded_NIHW.flatten(2)


def pad(layer: nn.Conv2d, input_NIHW: Tensor) -> Tensor:
    """Return the input as the convolution pads it."""
    if isinstance(layer, SameConv2d):
        return F.pad(input_NIHW, layer.padding_of(input_NIHW))
    # nn.Conv2d keeps this attribute for F.pad itself, for padding by name and in pixels.
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(input_NIHW, layer._reversed_padding_repeated_twice, mode=mode)


def mean_outputs(means_NIK: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the mean output N×C of a layer with the given weight, C×I(×kernel), pruned or not."""
    outputs_NC = means_NIK.flatten(1) @ weight.flatten(1).T
    return outputs_NC if bias is None else outputs_NC + bias


def require_linear(name: str, computed_NC: Tensor, real_NC: Tensor) -> None:
    """Raise ConfigError unless the matrix product gives what the layer gave, up to rounding (TF32 on a GPU)."""
    scale = float(real_NC.abs().max())
    if not torch.allclose(computed_NC, real_NC, rtol=0.0, atol=1e-2 * scale):
        raise ConfigError(
            f"Layer '{name}' computes something else than a plain convolution or product with its weight, so SNACS cannot find its limit: choose another model."
        )
