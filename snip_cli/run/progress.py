"""Seeds that train side by side in threads, and the one progress bar over all of them."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from snip_cli.config.schema import Config
from snip_cli.runfolder.checkpoint import Saved
from snip_cli.runtime.processes import ProcessGroup
from snip_cli.training.loop import Meter

Item = TypeVar("Item")


class StoppedError(Exception):
    """Another thread has failed, or the user wants to stop."""


class Bar(Meter):
    """A progress bar over the iterations of all seeds, which also ends the trainings of other threads.

    Attributes:
        stopped: set it, and every training ends at its next look at the bar.
    """

    def __init__(self, bar: "tqdm[Any]") -> None:
        self._bar, self._lock = bar, threading.Lock()
        self.stopped = threading.Event()

    def done(self, iterations: int) -> None:
        """Count iterations. Raises StoppedError if the training is to end."""
        if self.stopped.is_set():
            raise StoppedError
        with self._lock:
            self._bar.update(iterations)

    def evaluated(self, error: float) -> None:
        """Show a test error in percent."""
        with self._lock:
            self._bar.set_postfix_str(f"test error {error:.2f} %")


@contextmanager
def progress_bar(config: Config, seeds: Sequence[int], saved: Saved, group: ProcessGroup) -> Iterator[Bar]:
    """Show a bar over the iterations of seeds on standard error, with the rate and the time left, if that is a terminal."""
    name = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    total = len(seeds) * config.schedule.iterations
    done = sum(saved.training[seed]["state"]["progress"]["iteration"] for seed in seeds if seed in saved.training)
    shown = group.is_first and sys.stderr.isatty()
    with tqdm(
        total=total, initial=done, desc=name, unit="it", disable=not shown, leave=False, dynamic_ncols=True
    ) as bar:
        yield Bar(bar)


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
