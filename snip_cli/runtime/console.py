"""Logging to standard output, in the process of the command and in those of a launcher."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

log = logging.getLogger("snip_cli")


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """A stream handler that raises BrokenPipeError. The base class would print a traceback for every line instead."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            raise
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
        yield
    finally:
        log.removeHandler(handler)
