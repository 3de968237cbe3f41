"""Kernels in threads, and tensors as the kernels see them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from torch import Tensor

from snip_cli.training.sparse.tables import Array


def in_parallel(work: Callable[[int, int], None], count: int) -> None:
    """Call work(begin, end) for parts of `count` things, in as many threads as PyTorch uses; the kernels release the GIL."""
    threads = min(torch.get_num_threads(), count)
    if threads == 1:
        work(0, count)
        return
    ends = [count * number // threads for number in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, begin, end) for begin, end in pairwise(ends)]:
            done.result()


def flat(values: Tensor) -> Array:
    """Return a tensor's memory as an array of one dimension."""
    return values.detach().numpy().reshape(-1)
