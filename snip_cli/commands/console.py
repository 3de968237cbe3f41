"""What a command prints while it works, and what becomes of the errors that it raises: a message and an exit code."""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from snip_cli.commands.characters import plain_characters
from snip_cli.config.quoting import in_home
from snip_cli.errors import RunError, SnipError
from snip_cli.runtime.signals import Terminated, signals_raised

log = logging.getLogger("snip_cli")

INTERRUPTED = 130


def exit_code_of(command: str, work: Callable[[], int], *, when_stopped: str = "stopped.") -> int:
    """Do the work of a command and return its exit code.

    Args:
        command: the name that messages on standard error begin with.
        work: returns the exit code, or raises.
        when_stopped: what to print after Ctrl-C or a signal, unless the KeyboardInterrupt has a message.

    Returns:
        What `work` returns, 2 for a ConfigError, 1 for any other error and for a closed pipe, 130 after Ctrl-C, 143 after SIGTERM.
    """
    with plain_characters():
        return _exit_code_of(command, work, when_stopped)


def _exit_code_of(command: str, work: Callable[[], int], when_stopped: str) -> int:
    try:
        with signals_raised():
            code = work()
            if sys.stdout is not None:
                sys.stdout.flush()  # at exit it would be too late to report a failure
            return code
    except SnipError as error:
        rank = int(os.environ.get("RANK", 0))  # under torchrun
        print(f"{command}{f' (process {rank})' if rank else ''}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print(f"\n{command}: {str(stop) or when_stopped}", file=sys.stderr)
        return stop.exit_code if isinstance(stop, Terminated) else INTERRUPTED
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        sys.stdout = None  # otherwise Python reports at exit that it cannot flush
        return SnipError.exit_code
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            sys.stdout = None
            print(f"{command}: the output cannot be written ({error.strerror}): free space there.", file=sys.stderr)
            return SnipError.exit_code
        notes = getattr(error, "__notes__", [])
        if not notes:  # a run notes where its log holds the traceback
            traceback.print_exc()
        print("; ".join([f"{command}: unexpected {type(error).__name__}: {error}", *notes]), file=sys.stderr)
        return SnipError.exit_code


@contextmanager
def exits_reported() -> Iterator[None]:
    """Within this context, code of the user's that ends the program is a RunError that names its line."""
    try:
        yield
    except SystemExit as stop:
        place = traceback.extract_tb(stop.__traceback__)[-1]
        raise RunError(
            f"{place.filename}, line {place.lineno}, ended the program (sys.exit({stop.code!r})): raise an error there instead."
        ) from stop


def path(text: str) -> Path:
    """Return the path that an argument names, with the user's home folder for `~`."""
    return Path(in_home(text))


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """A stream handler that raises BrokenPipeError. The base class would print a traceback for every line instead.

    A line that a full disk does not take is lost; a run's own log has it too.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            raise
        if not isinstance(error, OSError):
            super().handleError(record)


@contextmanager
def console() -> Iterator[None]:
    """Send this project's messages, but not those of libraries, to standard output. Nested calls do not repeat them."""
    if any(isinstance(handler, ConsoleHandler) for handler in log.handlers):
        yield
        return
    log.setLevel(logging.DEBUG)
    log.propagate = False
    handler = ConsoleHandler(sys.stdout)
    handler.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        with plain_characters():
            yield
    finally:
        log.removeHandler(handler)
