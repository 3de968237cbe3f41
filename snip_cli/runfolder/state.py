"""What became of a run's folder: finished, running or left unfinished, how large and how old it is, and how it is removed."""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from filelock import Timeout

from snip_cli.errors import ConfigError
from snip_cli.runfolder.record import RUN_FILES, RunRecord, read_evaluations, read_run
from snip_cli.runtime.locks import file_lock

FINISHED, RUNNING, DAMAGED = "finished", "running", "damaged"
# What only snip-run leaves beside a config.yaml.
TRACES = ("run.log", ".lock", "env.json")


@dataclass(frozen=True)
class RunState:
    """A run's folder as it is now.

    Attributes:
        run: what it holds; None where a file is damaged.
        state: `finished`, `running`, `damaged`, or how far an unfinished run came.
        changed: when it changed last, in seconds since 1970.
        size: its files, in bytes.
    """

    folder: Path
    run: RunRecord | None
    state: str
    changed: float
    size: int

    @property
    def age(self) -> float:
        """Seconds since the last change."""
        return max(0.0, time.time() - self.changed)

    @property
    def is_worthless(self) -> bool:
        """Whether nobody works on the run and no seed is finished, in a folder that surely is a run's and holds no other run."""
        if self.run is None or self.run.results or self.state == RUNNING:
            return False
        others = [path for name in RUN_FILES for path in self.folder.rglob(name) if path.parent != self.folder]
        return not others and any((self.folder / name).exists() for name in TRACES)


def state_of(folder: Path) -> RunState:
    """Return the state of a run's folder."""
    changed, size = 0.0, 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a file that a running process has just replaced
            status = path.lstat()
            if S_ISREG(status.st_mode) and path.name != ".lock":  # looking whether it is held may change the lock
                changed, size = max(changed, status.st_mtime), size + status.st_size
    try:
        run = read_run(folder)
        state = RUNNING if is_running(folder) else _progress(run)
    except ConfigError:
        return RunState(folder, None, DAMAGED, changed, size)
    return RunState(folder, run, state, changed, size)


def is_running(folder: Path) -> bool:
    """Return whether a process holds the lock of a run's folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        with file_lock(folder / ".lock").acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # nobody can write here
        return False


def _progress(run: RunRecord) -> str:
    """Return how far a run came, in words."""
    wanted = run.config.all_seeds
    done = [seed for seed in wanted if seed in run.results]
    if len(done) == len(wanted):
        return FINISHED
    seeds = f"{len(done)} of {len(wanted)} seeds" if done else "unfinished"
    reached = [row.iteration for seed, row in read_evaluations(run.folder) if seed not in run.results]
    if not reached:
        return seeds
    return f"{seeds}, at {max(reached):,} of {run.config.schedule.iterations:,} iterations"


def remove(state: RunState) -> None:
    """Delete a run's folder. Raises ConfigError where a process has begun to work on it, or it cannot be deleted."""
    try:
        lock = file_lock(state.folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"{state.folder} is kept: a process has begun to work on it.") from None
    except OSError as error:
        raise ConfigError(f"{state.folder} cannot be locked ({error.strerror or error}), so it is kept.") from error
    try:
        shutil.rmtree(state.folder)
    except OSError as error:
        raise ConfigError(f"{error.filename or state.folder} cannot be deleted ({error.strerror or error}).") from error
    finally:
        with suppress(OSError):  # the lock's file is gone
            lock.release()
