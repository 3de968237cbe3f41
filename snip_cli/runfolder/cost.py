"""What a seed's result cost, its ancestors included: the `cost` of its entry in `metrics.json`. Nothing in this file imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snip_cli.runfolder.forms import read_as


@dataclass(frozen=True)
class Cost:
    """The iterations of training, the prunings, the hyperparameters and the seconds behind a seed's result.

    A value is None where it is not known: the training of weights that came from outside, and an ancestor without a record.

    Attributes:
        iterations_before: iterations of training before the first pruning.
        iterations_during: iterations between the first pruning and the last.
        iterations_after: iterations after the last pruning; of a reference, all.
        prunings: how many times parameters were removed.
        hyperparameters: the options of the method, beyond the sparsity.
        seconds_before, seconds_during, seconds_after: duration of the training, with its evaluations and checkpoints. A method that
            prunes while it trains has one measured duration, which is divided in proportion to the iterations.
        seconds_pruning: duration of finding the masks, between the trainings.
    """

    iterations_before: int | None
    iterations_during: int
    iterations_after: int
    prunings: int
    hyperparameters: list[str]
    seconds_before: float | None
    seconds_pruning: float | None
    seconds_during: float | None
    seconds_after: float

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> "Cost | None":
        """Read `cost`; None where a record of an earlier version has none. Raises ValueError where it is damaged."""
        return None if content is None else read_as(cls, content)

    @property
    def iterations(self) -> int | None:
        """All iterations of training; None where those before are not known."""
        before = self.iterations_before
        return None if before is None else before + self.iterations_during + self.iterations_after

    @property
    def seconds(self) -> float | None:
        """All seconds; None where a part is not known."""
        parts = (self.seconds_before, self.seconds_pruning, self.seconds_during)
        known = [part for part in parts if part is not None]
        return sum(known) + self.seconds_after if len(known) == len(parts) else None
