"""One GPU of this machine for each run, where there are several: chosen by lock files, which die with their owner."""

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

# A folder for each user: another user's lock files could not be opened. A container's user may have a number only.
USER = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
LOCKS = Path(tempfile.gettempdir()) / f"snip-run-{USER}"


@contextmanager
def one_gpu() -> Iterator[int]:
    """The index of the visible GPU that fewest of this user's runs on this machine have taken, taken itself while this lasts.

    Runs that start together take one each, in the order of the GPUs, and two share one only when all are taken. Runs of other
    users, and other programs, are not seen. There must be a GPU.
    """
    lock, index = take(names())
    try:
        yield index
    finally:
        lock.release()


def take(gpus: list[str]) -> tuple[FileLock, int]:
    """A held lock and the index of its GPU: the first lock of the first GPU that has it free, else a second lock, and so on."""
    assert gpus
    LOCKS.mkdir(exist_ok=True)
    share = 0
    while True:
        for index, name in enumerate(gpus):
            lock = FileLock(LOCKS / f"{name}-{share}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return lock, index
        share += 1


def names() -> list[str]:
    """A name for each visible GPU, by index, that is the same in every process, whatever CUDA_VISIBLE_DEVICES shows it."""
    import torch

    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
