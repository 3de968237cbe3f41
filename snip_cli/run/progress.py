"""Seeds that train side by side in threads, and the progress of all of them: a bar, or lines in a log."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from tqdm import tqdm

from snip_cli.config.schema import Config
from snip_cli.run.ancestors import own_iterations
from snip_cli.runfolder.checkpoint import Saved
from snip_cli.runfolder.results import Evaluation
from snip_cli.runtime.processes import ProcessGroup
from snip_cli.runtime.words import duration
from snip_cli.training.loop import Meter

log = logging.getLogger("snip_cli")

Item = TypeVar("Item")

# Seconds until the first line of a log, between two lines, and of silence before a line without an evaluation.
FIRST, BETWEEN, SILENCE = 10.0, 30.0, 300.0
# The size of a terminal that does not know its own.
WIDTH, HEIGHT = 80, 24


class StoppedError(Exception):
    """Another thread has failed, or the user wants to stop."""


class Bar(Meter):
    """Shows the iterations of all seeds, as a bar or in lines of the log, and ends the trainings of other threads.

    Attributes:
        stopped: set it, and every training ends at its next look at the bar.
    """

    def __init__(
        self,
        bar: "tqdm[Any]",
        *,
        lines: bool = False,
        total: int = 0,
        initial: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bar, self._lock, self._lines, self._clock = bar, threading.Lock(), lines, clock
        self._total, self._initial, self._done, self._started = total, initial, 0, clock()
        # When the first iterations were done, and how many: before them kernels may have been compiled.
        self._first: tuple[float, int] | None = None
        self._next_line = self._started + FIRST
        self.stopped = threading.Event()

    def done(self, iterations: int) -> None:
        """Count iterations. Raises StoppedError if the training is to end."""
        if self.stopped.is_set():
            raise StoppedError
        with self._lock:
            self._bar.update(iterations)
            self._done += iterations
            self._first = self._first or (self._clock(), self._done)
            # Between evaluations there is a line at the start, for the time left, and then a rare one.
            first = self._next_line == self._started + FIRST
            if self._lines and self._clock() >= self._next_line + (0 if first else SILENCE - BETWEEN):
                self._log("")

    def evaluated(self, error: float) -> None:
        """Show a test error in percent."""
        with self._lock:
            self._bar.set_postfix_str(f"test error {error:.2f} %")

    def log(self, seed: int, row: Evaluation) -> None:
        """Log an evaluation of a seed, at most one every half minute."""
        with self._lock:
            if self._lines and self._clock() >= self._next_line:
                self._log(
                    f"seed {seed} at iteration {row.iteration:,}: loss {row.train_loss:.4f}, validation error {row.val_error:.2f} %, "
                    f"test error {row.test_error:.2f} %, {row.images_per_second:,.0f} images/s; "
                )

    def _log(self, evaluation: str) -> None:
        """Log a line: an evaluation, how many iterations of all seeds are done, and the time left where it is known."""
        now, (began, first) = self._clock(), self._first or (0.0, 0)
        self._next_line = now + BETWEEN
        done = self._initial + self._done
        if done >= self._total or not self._done:
            return
        left = ""
        if self._done > first:
            seconds = (now - began) / (self._done - first) * (self._total - done)
            left = f", about {duration(seconds)} left"
        log.info("%s%s of %s iterations done%s", evaluation, f"{done:,}", f"{self._total:,}", left)


@contextmanager
def progress_bar(config: Config, seeds: Sequence[int], saved: Saved, group: ProcessGroup) -> Iterator[Bar]:
    """Show the iterations of seeds, with the rate and the time left: as a bar if standard error is a terminal, else in lines of the log."""
    name = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    each = own_iterations(config)
    total, skipped = len(seeds) * each, config.schedule.iterations - each
    begun = [saved.training[seed]["state"]["progress"]["iteration"] for seed in seeds if seed in saved.training]
    done = sum(iteration - skipped for iteration in begun)
    terminal = sys.stderr.isatty()
    # A terminal that does not know its size says 0, at which tqdm shows nothing.
    width = 0
    with suppress(OSError, ValueError):  # some consoles have no file descriptor
        width = os.get_terminal_size(sys.stderr.fileno()).columns if terminal else 0
    size: dict[str, Any] = {"dynamic_ncols": True} if width > 0 else {"ncols": WIDTH, "nrows": HEIGHT}
    shown = group.is_first and terminal
    with tqdm(total=total, initial=done, desc=name, unit="it", disable=not shown, leave=False, **size) as bar:
        yield Bar(bar, lines=group.is_first and not terminal, total=total, initial=done)


def in_threads(work: Callable[[Item], None], items: Sequence[Item], threads: int, bar: Bar) -> None:
    """Call `work` with every item, in `threads` threads at a time; with one, in this thread.

    Raises what the first call raised that failed, after the others have stopped.
    """
    if threads <= 1:
        for item in items:
            work(item)
        return
    errors: list[BaseException] = []

    def attempt(item: Item) -> None:
        if bar.stopped.is_set():
            return
        try:
            work(item)
        except BaseException as error:
            errors.append(error)
            bar.stopped.set()
            raise

    with ThreadPoolExecutor(threads) as pool:
        try:
            wait([pool.submit(attempt, item) for item in items], return_when=FIRST_EXCEPTION)
        except BaseException:  # Ctrl-C reaches this thread alone
            bar.stopped.set()
            raise
    if errors:
        raise errors[0]
