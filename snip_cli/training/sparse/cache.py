"""Where compiled kernels are kept: a folder of the user's for each version of the kernels, so that no version runs the code of another.

numba compares the time of a kernel's own file alone with that of its compiled form, and would miss a change in a file that it imports.
"""

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba.core.config

from snip_cli.runtime.locks import hold

log = logging.getLogger("snip_cli")

settings: Any = numba.core.config

# A compilation takes longer than this, and reading a compiled kernel takes less.
NOTICEABLE_SECONDS = 2.0


def kernel_folder() -> Path:
    """Return the folder for this version of the kernels: in numba's cache if there is one, or else in the user's.

    If that is not writable, it is a new temporary folder: nobody else can have put code there, and the next process compiles again.
    """
    sources = sorted((Path(__file__).parent / "kernels").glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snip-run"
        folder = (Path(settings.CACHE_DIR) if settings.CACHE_DIR else cache) / digest
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # a user without a home folder
        return Path(tempfile.mkdtemp(prefix="snip-run-kernels-"))


@contextmanager
def kernels_compiled() -> Iterator[None]:
    """Let kernels be compiled within, by one process at a time, and say so if it took a while."""
    started = time.perf_counter()
    with hold(FOLDER / "lock", "compiling the kernels"):
        yield
    seconds = time.perf_counter() - started
    if seconds > NOTICEABLE_SECONDS:
        log.info("compiled the kernels in %.0f s; they are kept in %s", seconds, FOLDER)


FOLDER = kernel_folder()
settings.CACHE_DIR = str(FOLDER)
