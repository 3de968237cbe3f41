"""Where compiled kernels are kept: a folder of the user's for each version of the kernels, so that no version runs the code of another."""

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
from filelock import FileLock

log = logging.getLogger("snip_cli")

settings: Any = numba.core.config

# A compilation takes longer than this, and reading a compiled kernel takes less.
NOTICEABLE_SECONDS = 2.0


def kernel_folder() -> Path:
    """Return the folder for this version of the kernels: in the user's cache, or where that is not writable, among temporary files."""
    sources = sorted((Path(__file__).parent / "kernels").glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for parent in (home, Path(tempfile.gettempdir())):
        folder = parent / f"snip-run-{os.getuid() if hasattr(os, 'getuid') else 'kernels'}" / digest
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return Path(tempfile.mkdtemp())


@contextmanager
def kernels_compiled() -> Iterator[None]:
    """Let kernels be compiled within, by one process at a time, and say so if it took a while."""
    started = time.perf_counter()
    with FileLock(f"{settings.CACHE_DIR}.lock"):
        yield
    seconds = time.perf_counter() - started
    if seconds > NOTICEABLE_SECONDS:
        log.info("compiled the kernels in %.0f s; they are kept in %s", seconds, settings.CACHE_DIR)


if not settings.CACHE_DIR:
    settings.CACHE_DIR = str(kernel_folder())
