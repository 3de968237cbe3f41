"""The layers that SNACS looks at, convolutions and linear ones, and the state of the network in which it looks at them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import PRUNABLE_LAYERS


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each output channel of the layer sees its own input channel alone."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


def scorable_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The convolutions and linear layers between whose channels there are connections to score, by name; depthwise ones are left out.

    Raises ConfigError where the network has a layer with weights of another kind.
    """
    layers: dict[str, nn.Conv2d | nn.Linear] = {}
    for name, layer in model.named_modules():
        if is_depthwise(layer) or not isinstance(layer, PRUNABLE_LAYERS):
            continue
        grouped = isinstance(layer, nn.Conv2d) and layer.groups > 1
        if grouped or not isinstance(layer, nn.Conv2d | nn.Linear):
            kind = "a grouped convolution" if grouped else f"of kind {type(layer).__name__}"
            raise ConfigError(
                f"Layer '{name}' is {kind}, and only the channels of plain convolutions and linear layers are compared: choose another model, or method=snip."
            )
        layers[name] = layer
    return layers


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Inference mode without gradients, in which batch-norm keeps its statistics; afterwards every module is in its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def require_finite(name: str, outputs: Tensor) -> None:
    """Raise ConfigError where the outputs of the layer called `name` are not all finite."""
    if not torch.isfinite(outputs).all():
        raise ConfigError(
            f"The outputs of layer '{name}' are not finite: the network's training diverged, so train it with a lower schedule.learning_rate."
        )


def watched(model: nn.Module, batches: Iterable[Batch], hooks: Mapping[str, Callable[..., None]]) -> None:
    """Run the network in inference mode on all batches, with a forward hook on each of the named layers meanwhile."""
    handles = [model.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        with inference(model):
            for images, _ in batches:
                model(images)
    finally:
        for handle in handles:
            handle.remove()
