"""Which tensor of a model each entry of a mask belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snip_cli.errors import ConfigError
from snip_cli.models.effective import effective_shape, parametrized_names


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
    """Return the entries of `mask` with the places of `model` that they belong to.

    Raises:
        ConfigError: the mask names a parameter that the model lacks, or whose shape is another.
    """
    places = places_of(model)
    for name, keep in mask.items():
        if name not in places or places[name].shape != keep.shape:
            raise ConfigError(f"The mask does not fit the model at '{name}': it was made for another architecture.")
    return [(places[name], keep) for name, keep in mask.items()]


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
