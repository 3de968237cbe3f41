"""Which parameters of a network can be pruned."""

from torch import nn

PRUNABLE_LAYERS = (nn.modules.conv._ConvNd, nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase)


def prunable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights and biases of the convolution, linear and recurrent layers, by name; frozen ones (`requires_grad=False`) are left out.

    All weights come first and then all biases, both in the order of the layers: the released code numbers them so, and the number
    decides which of two equal scores is kept. A parameter that two layers share stands once.
    """
    seen: dict[nn.Parameter, str] = {}
    for layer_name, layer in model.named_modules():
        if isinstance(layer, PRUNABLE_LAYERS):
            for name, parameter in layer.named_parameters(prefix=layer_name, recurse=False):
                if parameter.requires_grad:
                    seen.setdefault(parameter, name)
    by_kind = sorted(seen.items(), key=lambda item: item[0].dim() == 1)
    return {name: parameter for parameter, name in by_kind}
