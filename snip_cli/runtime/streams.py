"""Random streams: every kind of draw in a run has its own stream, which does not depend on the method or the sparsity.

Two methods with the same seed therefore start from the same weights and see the same batches in the same order. A
resumed run needs no generator state, because a stream follows from its seed, name and number.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy
import torch


def generator(seed: int, name: str, number: int = 0) -> torch.Generator:
    """Return a CPU generator for the stream `name` of `seed` (≥ 0).

    `number` distinguishes the epochs or batches of one stream.
    """
    digest = hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every global generator for the block: Python's, NumPy's, and PyTorch's on all devices.

    Afterwards each is as it was. A device that was not used so far is left alone, because no tensor lies there.
    """
    python, numpys = random.getstate(), numpy.random.get_state()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))  # the CPU's
        stack.callback(random.setstate, python)
        stack.callback(numpy.random.set_state, numpys)
        for kind in ("cuda", "xpu"):
            device = torch.get_device_module(kind)
            if device.is_initialized():
                stack.enter_context(torch.random.fork_rng(range(device.device_count()), device_type=kind))
                device.manual_seed_all(seed)
        if torch.backends.mps.is_available():
            stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
            torch.mps.manual_seed(seed)
        # torch.manual_seed would seed devices that are not used so far, too.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        yield
