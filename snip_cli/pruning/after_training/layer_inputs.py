"""What the layers of a network read: the inputs of each linear layer and 2-D convolution as rows, one for each place it is applied to.

Second-order methods need them, because a layer's outputs are linear in its weights: outputs = rows · weightsᵀ.

N: images, G: groups of a convolution (1 of a linear layer), P: places in an image, K: inputs of an output unit, O: output units of a group.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.models.prunable import PRUNABLE_LAYERS, prunable_parameters
from snip_cli.models.tensorflow import SameConv2d

Layer = nn.Linear | nn.Conv2d

# Entries of a tensor with rows or gradients of many images.
CHUNK = 2**24


@dataclass
class Application:
    """A layer's last application: what it read, and what it returned, with its graph."""

    inputs: Tensor
    outputs: Tensor


def rows_of(layer: Layer, inputs: Tensor) -> Tensor:
    """Return the inputs of a layer's output units, N×G×P×K."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(len(inputs), 1, -1, layer.in_features)
    assert not isinstance(layer.padding, str)
    if isinstance(layer, SameConv2d):
        inputs = F.pad(inputs, layer.padding_of(inputs))
    columns = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return columns.view(len(inputs), layer.groups, -1, columns.shape[-1]).transpose(2, 3)


def units_of(layer: Layer, outputs: Tensor) -> Tensor:
    """Return a layer's outputs, or their gradients, as N×G×P×O."""
    if isinstance(layer, nn.Linear):
        return outputs.reshape(len(outputs), 1, -1, layer.out_features)
    return outputs.view(len(outputs), layer.groups, layer.out_channels // layer.groups, -1).transpose(2, 3)


def images_at_a_time(layer: Layer, inputs: Tensor) -> int:
    """Return for how many images the rows, or one gradient per image, fit into CHUNK entries; at least 1."""
    return max(1, CHUNK // max(layer.weight.numel(), rows_of(layer, inputs[:1]).numel()))


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """Return the linear layers and 2-D convolutions with a prunable weight, by the weight's name."""
    prunable = prunable_parameters(model)
    names = ((f"{path}.weight" if path else "weight", layer) for path, layer in model.named_modules())
    return {name: layer for name, layer in names if isinstance(layer, Layer) and name in prunable}


def check_layers(model: nn.Module, example: Tensor, method: str) -> None:
    """Raise ConfigError unless the weights of `model` belong to layers whose inputs can be written as rows, applied once to an image.

    Model and example lie on the meta device.
    """
    remedy = "choose another method, such as lwc"
    for path, layer in model.named_modules():
        if not isinstance(layer, PRUNABLE_LAYERS):
            continue
        if not isinstance(layer, Layer):
            raise ConfigError(
                f"method '{method}' needs linear layers and 2-D convolutions, but '{path}' is a layer of type {type(layer).__name__}: {remedy}."
            )
        if type(layer).forward not in (nn.Linear.forward, nn.Conv2d.forward):
            raise ConfigError(
                f"method '{method}' needs PyTorch's own linear layers and 2-D convolutions, but '{path}' is of type {type(layer).__name__}, which has a forward pass of its own: {remedy}."
            )
        if isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
            raise ConfigError(
                f"method '{method}' needs convolutions that are padded with zeros by a given width, but '{path}' has padding={layer.padding!r}, padding_mode={layer.padding_mode!r}: {remedy}."
            )
    times: dict[str, int] = dict.fromkeys(layers_of(model), 0)

    def count(name: str) -> None:
        times[name] += 1

    handles = [
        layer.register_forward_hook(lambda *_, name=name: count(name)) for name, layer in layers_of(model).items()
    ]
    try:
        with evaluation_mode(model):
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    for name, number in times.items():
        if number != 1:
            raise ConfigError(
                f"method '{method}' needs layers that are applied once to an image, but that of '{name}' is applied {number} times: {remedy}."
            )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in inference mode, and every module back in its own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def applications(model: nn.Module) -> Iterator[dict[str, Application]]:
    """Within the block, the model is in inference mode, and the dictionary holds each layer's last application, by its weight's name."""
    seen: dict[str, Application] = {}

    def note(name: str, inputs: Tensor, outputs: Tensor) -> None:
        seen[name] = Application(inputs.detach(), outputs)

    handles = [
        layer.register_forward_hook(lambda _, inputs, outputs, name=name: note(name, inputs[0], outputs))
        for name, layer in layers_of(model).items()
    ]
    try:
        with evaluation_mode(model):
            yield seen
    finally:
        for handle in handles:
            handle.remove()
