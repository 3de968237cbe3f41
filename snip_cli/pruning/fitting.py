"""Which tensor of a model each entry of a mask belongs to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snip_cli.errors import ConfigError
from snip_cli.models.effective import effective_shape, parametrized_names, require_maskable
from snip_cli.models.names import same_names
from snip_cli.models.prunable import PRUNABLE_LAYERS, require_no_lazy_layer, weights_and_biases


@dataclass(frozen=True)
class Place:
    """A parameter, or a parametrized tensor, as an attribute of its layer."""

    layer: nn.Module
    name: str

    @property
    def shape(self) -> torch.Size:
        """The tensor's shape."""
        if parametrize.is_parametrized(self.layer, self.name):
            return effective_shape(self.layer, self.name)
        shape: torch.Size = getattr(self.layer, self.name).shape
        return shape


def fit(model: nn.Module, mask: Mapping[str, Tensor]) -> list[tuple[Place, Tensor]]:
    """Return the entries of `mask` with the places of `model` that they belong to, whatever the model is wrapped in.

    Raises:
        ConfigError: the mask names a parameter that the model lacks, that a layer computes from others, or whose shape is another, or a
            layer has no weights yet.
    """
    require_no_lazy_layer(model)
    places = places_of(model)
    own = same_names(mask, places)
    if len(own) < len(mask):
        _require_parameters(model, mask)
    for name, keep in mask.items():
        if name not in own:
            raise _misfit(name, _surplus(places, own.values()), _part(mask, places))
        shape = places[own[name]].shape
        if shape != keep.shape:
            raise _misfit(name, f"its shape there is {tuple(keep.shape)}, the model's is {tuple(shape)}", "")
    return [(places[own[name]], keep) for name, keep in mask.items()]


def _require_parameters(model: nn.Module, mask: Iterable[str]) -> None:
    """Raise ConfigError if a weight that the mask names is no parameter of the model, because a hook or the layer itself computes it."""
    computed = {
        f"{path}.{name}" if path else name: (path or type(layer).__name__, layer, name)
        for path, layer in model.named_modules()
        if isinstance(layer, PRUNABLE_LAYERS)
        for name in weights_and_biases(layer)
        if name not in layer._parameters
    }
    for place in same_names(mask, computed).values():
        require_maskable(*computed[place])


def _misfit(name: str, problem: str, remedy: str) -> ConfigError:
    remedy = remedy or "apply it to the model that it was made for, or make one for this model with snip_cli.prune"
    return ConfigError(f"The mask does not fit the model at '{name}': {problem}; {remedy}.")


def _surplus(places: Mapping[str, Place], found: Iterable[str]) -> str:
    """Say that the model lacks a parameter, and which prunable one of its own the mask lacks."""
    held = {(id(places[name].layer), places[name].name) for name in found}
    for name, place in places.items():
        own = isinstance(place.layer, PRUNABLE_LAYERS) and place.name in weights_and_biases(place.layer)
        if own and (id(place.layer), place.name) not in held:
            return f"the model has no such parameter, and the mask has none for the model's '{name}'"
    return "the model has no such parameter"


def _part(mask: Mapping[str, Tensor], places: Mapping[str, Place]) -> str:
    """Say how to apply a mask that was made for a part of the model, or for something that the model is a part of."""
    first = next(iter(mask))
    for name in places:
        if (path := _before(name, first)) and all(_fits(f"{path}.{each}", keep, places) for each, keep in mask.items()):
            return f"it fits the model's part '{path}': apply it to model.get_submodule('{path}')"
        if (path := _before(first, name)) and all(
            _fits(each.removeprefix(f"{path}."), keep, places) for each, keep in mask.items()
        ):
            return f"it was made for a network that has this model as its part '{path}': apply it to that network, or remove '{path}.' from its names"
    return ""


def _before(name: str, end: str) -> str:
    """Return what stands in a name before `.end`, or an empty string."""
    return name.removesuffix(f".{end}") if name.endswith(f".{end}") else ""


def _fits(name: str, keep: Tensor, places: Mapping[str, Place]) -> bool:
    return name in places and places[name].shape == keep.shape


def places_of(model: nn.Module) -> dict[str, Place]:
    """Return the place of every parameter and every parametrized tensor, by each name that it has."""
    found: dict[str, Place] = {}
    for path, layer in model.named_modules(remove_duplicate=False):
        if "parametrizations" in path.split("."):
            continue
        own = [name for name, parameter in layer._parameters.items() if parameter is not None]
        for name in [*own, *parametrized_names(layer)]:
            found[f"{path}.{name}" if path else name] = Place(layer, name)
    return found
