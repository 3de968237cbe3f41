"""The results of a method's steps, kept on disk, so that an interrupted pruning continues after the last finished step.

A sweep over the sparsity repeats no step: runs that agree in everything a step depends on use each other's files. A step's file holds its
result, its duration and the commit that computed it.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from snip_cli.errors import ConfigError
from snip_cli.runtime.environment import git_state
from snip_cli.runtime.files import load_tensors, save_tensors, write_bytes

log = logging.getLogger("snip_cli")

Result = TypeVar("Result")

# The form of a step's file. It is part of the hash in the name of a folder of steps, so that no file of an earlier form is read.
FORMAT = 2

# Seconds between two progress lines in the log.
LOG_EVERY = 30.0


@dataclass(frozen=True)
class Done:
    """A finished step, as its file holds it: the result (tensors and plain Python), its duration in seconds, and the commit, if known."""

    result: Any
    seconds: float
    commit: str | None


class Steps:
    """A folder with one file per finished step; without a folder nothing is kept.

    `seconds_read` sums the durations of steps that were read rather than computed: an earlier attempt or another run spent them. Where
    another commit computed a step, one warning says so.

    Args:
        folder: `runs/RUN/steps/NAME`; created when the first step is finished.
        others: folders of other runs whose steps of the same name are the same.
        of: whose steps they are; every line in the log begins with it.
    """

    def __init__(self, folder: Path | None = None, others: list[Path] | None = None, of: str = "") -> None:
        self.folder, self.others, self.of = folder, others or [], of
        self.seconds_read = 0.0
        self._warned = False
        self._taken: set[Path] = set()

    def do(self, name: str, compute: Callable[[], Result]) -> Result:
        """Return the result of the step called `name`, read where it is finished, else computed and kept; the log says which.

        Raises ConfigError where its file is damaged.
        """
        started = time.perf_counter()
        result, was_read = self._one(name, compute)
        self._log("%s: %s", name, "done already" if was_read else since(started))
        return result

    def each(self, name: str, keys: Sequence[str], compute: Callable[[str], Result]) -> dict[str, Result]:
        """Do one step, called `name-key`, for each of `keys`, the names of layers; return the results by key.

        A progress bar is shown, and a line is logged every half minute and at the end.
        """
        shown = sys.stderr.isatty() and self.folder is not None
        bar = tqdm(keys, desc=name, disable=not shown, leave=False)
        results: dict[str, Result] = {}
        read = 0
        started = last_logged = time.perf_counter()
        for number, key in enumerate(bar, 1):
            results[key], was_read = self._one(f"{name}-{key}", partial(compute, key))
            read += was_read
            if number == len(keys) or time.perf_counter() - last_logged > LOG_EVERY:
                last_logged = time.perf_counter()
                found = f", {read} of them done already" if read else ""
                self._log("%s: %d of %d layers%s, %s", name, number, len(keys), found, since(started))
        return results

    def _one(self, name: str, compute: Callable[[], Result]) -> tuple[Result, bool]:
        """Return the result of a step, and whether it was read."""
        if self.folder is None:
            return compute(), False
        path = self.folder / f"{name}.pt"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._take(path):
                started = time.perf_counter()
                done = Done(compute(), time.perf_counter() - started, self._commit)
                save_tensors(path, vars(done))
                log.debug("step %s is done", name)
                return done.result, False
        done = _read(path)
        self.seconds_read += done.seconds
        self._warn_of_another_commit(done.commit)
        return done.result, True

    def _log(self, message: str, *values: object) -> None:
        """Log a line; none where nothing is kept, because then a program asks for a mask."""
        if self.folder is not None:
            log.info(self.of + message, *values)

    @cached_property
    def _commit(self) -> str | None:
        return git_state()[0]

    def _warn_of_another_commit(self, commit: str | None) -> None:
        if self._warned or not (commit and self._commit) or commit == self._commit:
            return
        assert self.folder is not None
        log.warning(
            "uses steps that commit %s computed (now %s): to compute them again, delete %s",
            commit[:9],
            self._commit[:9],
            self.folder.parents[2] / "*" / "steps" / self.folder.name,
        )
        self._warned = True

    def _take(self, path: Path) -> bool:
        """Link another run's whole file to `path`, and return whether there is one."""
        for other in self.others:
            found = other / path.name
            if found.exists() and _is_whole(found):
                try:
                    os.link(found, path)
                except OSError:  # another file system, or one without links
                    write_bytes(path, found.read_bytes())
                level = logging.DEBUG if other in self._taken else logging.INFO
                log.log(level, "uses finished steps of %s", other.parent.parent.name)
                self._taken.add(other)
                return True
        return False


# For methods whose steps need not be kept.
NO_STEPS = Steps()


def since(started: float) -> str:
    """Return the time since `started` in words."""
    return f"{time.perf_counter() - started:.0f} s"


def _is_whole(path: Path) -> bool:
    try:
        _read(path)
    except ConfigError:
        return False
    return True


def _read(path: Path) -> Done:
    remedy = "delete it, and the same command computes it again"
    content = load_tensors(path, remedy)
    try:
        return Done(**content)
    except TypeError as error:
        raise ConfigError(f"{path} holds no step of a method: {remedy}.") from error
