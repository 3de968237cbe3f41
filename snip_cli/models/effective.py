"""Effective weights: what a layer multiplies with, where `torch.nn.utils.parametrize` computes it from other parameters.

Scoring or masking those other parameters one by one would mean nothing: a weight is zero only if its effective value is.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from snip_cli.errors import ConfigError


class Masked(nn.Module):
    """The last step of a parametrization that a mask prunes: it sets the pruned entries of the effective weight to zero."""

    keep: Tensor

    def __init__(self, keep: Tensor) -> None:
        super().__init__()
        self.register_buffer("keep", keep)

    def forward(self, weight: Tensor) -> Tensor:
        return weight.where(self.keep, 0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def parametrized_names(layer: nn.Module) -> list[str]:
    """Return the names of the layer's parametrized tensors."""
    return list(layer.parametrizations) if parametrize.is_parametrized(layer) else []  # type: ignore[arg-type]


@torch.no_grad()
def effective_value(layer: nn.Module, name: str) -> Tensor:
    """Return the effective value of a parametrized tensor, as in evaluation mode: spectral norm does not iterate."""
    steps = _steps(layer, name)
    modes = {module: module.training for module in steps.modules()}
    steps.eval()
    try:
        value: Tensor = getattr(layer, name)
        return value.detach().clone()
    finally:
        for module, training in modes.items():
            module.training = training


def effective_shape(layer: nn.Module, name: str) -> torch.Size:
    """Return the shape of a parametrized tensor; computed only if no mask was applied to it before."""
    last = _steps(layer, name)[-1]
    return last.keep.shape if isinstance(last, Masked) else effective_value(layer, name).shape


def mask_effective(layer: nn.Module, name: str, keep: Tensor) -> None:
    """Set the pruned entries of a parametrized tensor to zero, now and whenever it is computed again.

    What an earlier mask pruned stays pruned, as with a weight that is a parameter.
    """
    steps = _steps(layer, name)
    device = next(iter(steps.state_dict(keep_vars=True).values())).device
    keep = keep.to(device, torch.bool)
    if isinstance(steps[-1], Masked):
        steps[-1].keep &= keep
    else:
        # `unsafe` leaves out a check that would compute the tensor in training mode.
        parametrize.register_parametrization(layer, name, Masked(keep.clone()), unsafe=True)


@contextmanager
def effective_weights(model: nn.Module) -> Iterator[None]:
    """Within the block, every parametrized tensor of `model` is a plain parameter that holds its effective value.

    It keeps its name, so that `0.weight` is scored like the weight of any other layer. It is frozen if all that it is
    computed from is frozen.
    """
    layers = [layer for layer in model.modules() if parametrize.is_parametrized(layer)]
    before = [(layer, type(layer), dict(layer._parameters), dict(layer._modules)) for layer in layers]
    values = {
        layer: {
            name: nn.Parameter(
                effective_value(layer, name), any(p.requires_grad for p in _steps(layer, name).parameters())
            )
            for name in parametrized_names(layer)
        }
        for layer in layers
    }
    try:
        for layer in layers:
            layer.__class__ = parametrize.type_before_parametrizations(layer)
            del layer.parametrizations
            layer._parameters.update(values[layer])
        yield
    finally:
        for layer, kind, parameters, modules in before:
            layer.__class__ = kind
            layer._parameters.clear()
            layer._parameters.update(parameters)
            layer._modules.clear()
            layer._modules.update(modules)


def require_parameters(label: str, layer: nn.Module, names: list[str]) -> None:
    """Raise ConfigError if a weight or bias of these names is computed from other parameters, in any way.

    Args:
        label: the layer's name.
        names: the names of the layer's weights and biases.
    """
    if not any(parameter.requires_grad for parameter in layer.parameters()):
        return
    for name in names:
        if parametrize.is_parametrized(layer, name):
            raise ConfigError(
                f"The {name} of layer '{label}' is parametrized, so it is no parameter that can be masked: use snip_cli.prune and snip_cli.apply_mask, which score and mask its effective value, or call torch.nn.utils.parametrize.remove_parametrizations(layer, '{name}') first."
            )
        require_maskable(label, layer, name)


def require_maskable(label: str, layer: nn.Module, name: str) -> None:
    """Raise ConfigError if a weight or bias is computed from other parameters otherwise than by a parametrization."""
    known = name in layer._parameters or name in layer._buffers or parametrize.is_parametrized(layer, name)
    if not known and isinstance(getattr(layer, name, None), Tensor):
        raise ConfigError(
            f"The {name} of layer '{label}' is computed from other parameters ({_sources(layer, name)}), and zeros in these are not zeros of the {name}: {_remedy(layer, name)}."
        )


def _steps(layer: nn.Module, name: str) -> parametrize.ParametrizationList:
    steps = layer.parametrizations[name]  # type: ignore[index]
    assert isinstance(steps, parametrize.ParametrizationList)
    return steps


def _sources(layer: nn.Module, name: str) -> str:
    """Name the parameters that a weight called `name` is computed from, such as weight_g and weight_v."""
    own = [each for each, _ in layer.named_parameters(recurse=False)]
    return ", ".join([each for each in own if each.startswith(f"{name}_")] or own)


def _remedy(layer: nn.Module, name: str) -> str:
    """Say how the weight becomes a parameter again."""
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == name:
            return f"call torch.nn.utils.remove_weight_norm(layer, '{name}') first, or use torch.nn.utils.parametrizations.weight_norm"
        if isinstance(hook, SpectralNorm) and hook.name == name:
            return f"call torch.nn.utils.remove_spectral_norm(layer, '{name}') first, or use torch.nn.utils.parametrizations.spectral_norm"
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return f"call torch.nn.utils.prune.remove(layer, '{name}') first, which makes the zeros permanent"
    return f"compute it by torch.nn.utils.parametrize.register_parametrization, or make {name} a parameter"
