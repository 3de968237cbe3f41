"""A run's folder while a process writes to it: locked, with its log in `run.log`. Its name: `Config.folder`. Imports no torch."""

import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from snip_cli.errors import ConfigError
from snip_cli.runtime.files import make_writable, writing
from snip_cli.runtime.locks import file_lock, hint, hold

log = logging.getLogger("snip_cli")

# What a run's folder holds as soon as there is something to lose.
WORK = ("checkpoint.pt", "mask.pt", "steps", "metrics.json")


def wait_until_free(path: Path) -> None:
    """Wait until no process holds the lock of a run's folder, which need not exist."""
    if path.is_dir():
        with suppress(OSError), _lock(path, wait=True):  # a folder that is not writable is reported when it is opened
            pass


@contextmanager
def open_folder(path: Path, *, wait: bool = False) -> Iterator[Path]:
    """Create and lock a run's folder, and log to its `run.log`.

    Raises ConfigError where the folder is not writable or, without `wait`, another process has locked it. A new folder is removed again
    where the block raises ConfigError before there is a result, so that no report lists it.
    """
    is_new = not path.exists()
    make_writable(path)
    try:
        lock = _lock(path, wait=wait)
    except OSError as error:
        raise ConfigError(
            f"{path / '.lock'} cannot be locked ({error.strerror or error}): "
            "delete it if no process is doing the run, or choose another output_dir."
        ) from error
    refused = False
    with lock:
        try:
            with _log_to(path / "run.log"):
                try:
                    yield path
                except Exception as error:
                    refused = isinstance(error, ConfigError)
                    log.debug("failed", exc_info=True)
                    error.add_note(f"its traceback is in {path / 'run.log'}")
                    raise
        finally:
            if refused and is_new and not any((path / name).exists() for name in WORK):
                # A folder that cannot be removed must not hide why the run was refused.
                shutil.rmtree(path, ignore_errors=True)


def _lock(path: Path, *, wait: bool) -> AbstractContextManager[object]:
    """Acquire the lock of a folder. Raises ConfigError if another process has it and this one is not to `wait`."""
    if wait:
        return hold(path / ".lock", f"doing the run {path}")
    lock = file_lock(path / ".lock")
    try:
        return lock.acquire(timeout=1)  # `wait_until_free` holds it for an instant
    except Timeout:
        raise ConfigError(
            f"Another process is doing the run {path}: wait for it, or choose another output_dir.{hint(lock)}"
        ) from None


class LogFile(logging.FileHandler):
    """`run.log`. A line that cannot be written is lost; the run itself reports a full disk, at the next file that counts."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    with writing(path):
        handler = LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.DEBUG)
    log.setLevel(logging.DEBUG)  # a cluster's worker has no command line that sets it
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
