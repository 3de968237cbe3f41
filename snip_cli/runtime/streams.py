"""Random streams: every kind of draw in a run has its own stream, which does not depend on the method or the sparsity.

Two methods with the same seed therefore start from the same weights and see the same batches in the same order. A
resumed run needs no generator state, because a stream follows from its seed, name and number.
"""

import hashlib

import torch


def generator(seed: int, name: str, number: int = 0) -> torch.Generator:
    """Return a CPU generator for the stream `name` of `seed` (≥ 0).

    `number` distinguishes the epochs or batches of one stream.
    """
    digest = hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
