"""How far a training is, how long it took, and the bar that shows it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from snip_cli.runfolder.results import Evaluation


@dataclass
class Progress:
    """How far a training is: all that a checkpoint must hold besides weights and optimizer state."""

    iteration: int = 0
    seconds: float = 0.0
    evaluations: list[Evaluation] = field(default_factory=list)
    # Training losses since the last evaluation.
    losses: list[float] = field(default_factory=list)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Progress":
        """Go on from what `state` returned."""
        rows = [Evaluation.from_json(row) for row in state["evaluations"]]
        return cls(state["iteration"], state["seconds"], rows, list(state["losses"]))

    def state(self) -> dict[str, Any]:
        """Return plain Python for a checkpoint."""
        return {**vars(self), "evaluations": [row.to_json() for row in self.evaluations]}


class Clock:
    """Seconds of training, evaluations and checkpoints included, over all attempts, and images per second since the last evaluation in this one."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._origin = time.perf_counter() - progress.seconds
        self.begin_interval()

    def seconds(self) -> float:
        return time.perf_counter() - self._origin

    def begin_interval(self) -> None:
        self._interval, self._iteration = time.perf_counter(), self.progress.iteration

    def images_per_second(self, batch_size: int) -> float:
        return (self.progress.iteration - self._iteration) * batch_size / (time.perf_counter() - self._interval)


def progress_bar(total: int, done: int, name: str, *, shown: bool) -> tqdm:
    """A bar with rate and time left on standard error; nothing where it is not shown."""
    return tqdm(total=total, initial=done, desc=name, unit="it", disable=not shown, leave=False, dynamic_ncols=True)
