"""Keeps the warnings of libraries from the user, who can do nothing about them."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_library_warnings() -> Iterator[None]:
    """Within this context, no library prints warnings or log lines. Python's own `-W` and `PYTHONWARNINGS` count first."""
    handler = logging.NullHandler()  # without a handler, Python prints what a library logs
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger().removeHandler(handler)
