"""Blocks of work side by side, one a thread."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Block = TypeVar("Block")


def each_in_threads(work: Callable[[Block], None], blocks: Iterable[Block], device: torch.device) -> None:
    """Do the work on every block, without gradients; on the CPU in as many threads as PyTorch has, each of which computes by itself.

    Tensors of a few megabytes do not keep several threads busy: split among two, an operation on one takes hardly less time. The work
    on one block must not touch what that on another does. An error in one is raised, and what has not begun is not done then.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        with torch.no_grad():
            for block in blocks:
                work(block)
        return
    pool = ThreadPoolExecutor(threads, initializer=_alone)
    try:
        for _ in pool.map(work, blocks):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _alone() -> None:
    """Of the thread that calls it alone: PyTorch's number of threads and its gradients are a thread's own."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
