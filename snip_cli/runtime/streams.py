"""Random streams: each draw of a run has one of its own, which depends on neither method nor sparsity.

So two methods with the same seed start from the same weights and see the same batches in the same order, and a run that goes on from a
checkpoint needs no generator state: the stream's name and its numbers give it back.
"""

import hashlib

import torch


def generator(seed: int, name: str, number: int = 0) -> torch.Generator:
    """A CPU generator for the stream `name` of a run's `seed` (≥ 0); `number` tells epochs or batches of one stream apart."""
    digest = hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
