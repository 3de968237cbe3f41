"""The results of a method's steps, kept on disk, so that what was interrupted goes on after the last finished one.

Sweeping over the sparsity repeats no step: runs that differ in nothing that a step depends on take each other's files.
A step's file holds its result, the seconds that it took and the commit that computed it.
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

import torch
from tqdm import tqdm

from snip_cli.errors import ConfigError
from snip_cli.runfolder.record import write_atomically
from snip_cli.runtime.environment import git_state

log = logging.getLogger("snip_cli")

Result = TypeVar("Result")

# Of a step's file: a folder of steps has it in its name, so that no file of an earlier form is read.
FORMAT = 2

# Seconds between two lines that say how far the layers are.
TELL_EVERY = 30.0


@dataclass(frozen=True)
class Done:
    """A finished step, as its file holds it: tensors and plain Python, the seconds that it took, and the commit, if it is known."""

    result: Any
    seconds: float
    commit: str | None


class Steps:
    """A folder with one file a finished step; without a folder nothing is kept.

    `seconds_read` are those of the steps that were read, not computed here: an earlier attempt or another run spent them. Where another
    commit computed one, a warning says so once.

    Args:
        folder: made when the first step is finished; it lies as `runs/RUN/steps/NAME`.
        others: folders of other runs whose steps of the same name are the same.
        of: whose steps they are, which comes before what the log tells.
    """

    def __init__(self, folder: Path | None = None, others: list[Path] | None = None, of: str = "") -> None:
        self.folder, self.others, self.of = folder, others or [], of
        self.seconds_read = 0.0
        self._warned = False
        self._taken: set[Path] = set()

    def do(self, name: str, compute: Callable[[], Result]) -> Result:
        """The result of the step called `name`: read where it is finished, else computed and kept; a line in the log says which.

        Raises ConfigError where its file is damaged.
        """
        started = time.perf_counter()
        result, was_read = self._one(name, compute)
        self._tell("%s: %s", name, "done already" if was_read else since(started))
        return result

    def each(self, name: str, keys: Sequence[str], compute: Callable[[str], Result]) -> dict[str, Result]:
        """One step for each of `keys`, the names of layers, called `name-key`; the results by key.

        A progress bar shows how far it is, and a line in the log every half minute and at the end.
        """
        shown = sys.stderr.isatty() and self.folder is not None
        bar = tqdm(keys, desc=name, disable=not shown, leave=False)
        results: dict[str, Result] = {}
        read = 0
        started = last_told = time.perf_counter()
        for number, key in enumerate(bar, 1):
            results[key], was_read = self._one(f"{name}-{key}", partial(compute, key))
            read += was_read
            if number == len(keys) or time.perf_counter() - last_told > TELL_EVERY:
                last_told = time.perf_counter()
                found = f", {read} of them done already" if read else ""
                self._tell("%s: %d of %d layers%s, %s", name, number, len(keys), found, since(started))
        return results

    def _one(self, name: str, compute: Callable[[], Result]) -> tuple[Result, bool]:
        """The result of a step, and whether it was read."""
        if self.folder is None:
            return compute(), False
        path = self.folder / f"{name}.pt"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._take(path):
                started = time.perf_counter()
                done = Done(compute(), time.perf_counter() - started, self._commit)
                write_atomically(path, lambda file: torch.save(vars(done), file))
                log.debug("step %s is done", name)
                return done.result, False
        done = _read(path)
        self.seconds_read += done.seconds
        self._warn_of_another_commit(done.commit)
        return done.result, True

    def _tell(self, message: str, *values: object) -> None:
        """A line in the log; none where nothing is kept, as then a program asks for a mask."""
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
            "takes steps that commit %s computed (now %s): to have them computed anew, delete %s",
            commit[:9],
            self._commit[:9],
            self.folder.parents[2] / "*" / "steps" / self.folder.name,
        )
        self._warned = True

    def _take(self, path: Path) -> bool:
        """Link another run's file to `path`, if there is one; whether it was."""
        for other in self.others:
            found = other / path.name
            if found.exists() and _is_whole(found):
                try:
                    os.link(found, path)
                except OSError:  # another file system, or one without links
                    content = found.read_bytes()
                    write_atomically(path, lambda file, content=content: file.write(content) and None)
                level = logging.DEBUG if other in self._taken else logging.INFO
                log.log(level, "takes steps that are done from %s", other.parent.parent.name)
                self._taken.add(other)
                return True
        return False


def since(started: float) -> str:
    """The seconds since `started`, in words."""
    return f"{time.perf_counter() - started:.0f} s"


def _is_whole(path: Path) -> bool:
    try:
        _read(path)
    except ConfigError:
        return False
    return True


def _read(path: Path) -> Done:
    try:
        return Done(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises whatever its unpickler and the zip reader stumble on
        raise ConfigError(
            f"{path} is damaged and cannot be read: delete it, and the same command makes it anew."
        ) from error
