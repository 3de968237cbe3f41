"""What a mask leaves of each layer: the numbers behind `snip-report --layers`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from snip_cli.report.cells import Cell


@dataclass(frozen=True)
class Layer:
    """One layer of a cell, mean over its seeds.

    Attributes:
        name: its name in the network.
        shape: the shapes of its weights, without biases, such as `20×1×5×5`; empty where it is not known.
        total: its prunable parameters, weights and biases together.
        kept: how many of them the mask keeps.
        effective_kept: how many of these lie on a path from input to output; None where the paths are not known.
        multiply_adds: the fraction of the dense network's multiply-adds that are its own, whatever is kept; None where they are not known.
    """

    name: str
    shape: str
    total: int
    kept: float
    effective_kept: float | None
    multiply_adds: float | None

    @property
    def density(self) -> float:
        """The fraction of its parameters that is kept."""
        return self.kept / self.total

    @property
    def effective_density(self) -> float | None:
        """The fraction of its parameters that is kept and on a path; None where the paths are not known."""
        return None if self.effective_kept is None else self.effective_kept / self.total


# Counting needs networks, which this room may not import. The layers of a cell, none where it has neither results nor masks.
Count = Callable[[Cell], list[Layer]]


def whole(layers: Sequence[Layer]) -> Layer:
    """Return all layers as one."""
    effective = [layer.effective_kept for layer in layers if layer.effective_kept is not None]
    known = [layer.multiply_adds for layer in layers if layer.multiply_adds is not None]
    return Layer(
        "all",
        "",
        sum(layer.total for layer in layers),
        sum(layer.kept for layer in layers),
        sum(effective) if len(effective) == len(layers) else None,
        sum(known) if len(known) == len(layers) else None,
    )
