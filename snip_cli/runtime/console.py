"""The project's own messages on standard output, in the command's process and in those of a launcher."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("snip_cli")


class ConsoleHandler(logging.StreamHandler):
    """Lets a closed pipe through, which logging would report with a traceback for every line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            raise
        super().handleError(record)


@contextmanager
def console() -> Iterator[None]:
    """Send the project's own messages, and nothing of its libraries, to standard output; once, however often it is entered."""
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
