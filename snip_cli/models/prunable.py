"""Which parameters of a network can be pruned, and which convolutions are depthwise."""

from typing import TypeGuard

from torch import nn

from snip_cli.models.effective import require_parameters

PRUNABLE_LAYERS = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase)


def prunable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights and biases of the convolution, linear and recurrent layers, by name.

    Frozen parameters (`requires_grad=False`) are left out, and a parameter that two layers share appears once. All
    weights come first, then all biases, both in the order of the layers: the released code numbers them so, and of two
    equal scores it keeps the one with the lower number.

    Raises:
        ConfigError: a layer computes its weight from other parameters.
    """
    seen: dict[nn.Parameter, str] = {}
    for layer_name, layer in model.named_modules():
        if isinstance(layer, PRUNABLE_LAYERS):
            require_parameters(layer_name or type(layer).__name__, layer, weights_and_biases(layer))
            for name, parameter in layer.named_parameters(prefix=layer_name, recurse=False):
                if parameter.requires_grad:
                    seen.setdefault(parameter, name)
    by_kind = sorted(seen.items(), key=lambda item: item[0].dim() == 1)
    return {name: parameter for parameter, name in by_kind}


def weights_and_biases(layer: nn.Module) -> list[str]:
    """Return the names of the weights and biases that a layer of this kind has, whether or not they are parameters."""
    if isinstance(layer, nn.RNNBase):
        return list(layer._flat_weights_names)
    if isinstance(layer, nn.RNNCellBase):
        return ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    return ["weight", "bias"]


def is_depthwise(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether the layer is a convolution whose every output channel reads one input channel of its own."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1
