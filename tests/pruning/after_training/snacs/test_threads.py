"""Blocks of work in threads: all of them, alone, without gradients."""

import pytest
import torch

from snip_cli.pruning.after_training.snacs.acmi import layer_information
from snip_cli.pruning.after_training.snacs.threads import each_in_threads

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_block_is_worked_on_by_a_thread_of_its_own_and_without_gradients(threads):
    seen = {}

    def work(block):
        seen[block] = torch.get_num_threads(), torch.is_grad_enabled()

    each_in_threads(work, range(20), CPU)
    assert seen == dict.fromkeys(range(20), (1, False))
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_an_error_is_raised_and_ends_the_work(threads):
    done = []

    def work(block):
        if block == 0:
            raise MemoryError("too much")
        done.append(block)

    with pytest.raises(MemoryError, match="too much"):
        each_in_threads(work, range(10_000), CPU)
    assert len(done) < 9_999


def test_the_estimate_is_the_same_bits_with_any_number_of_threads(threads):
    generator = torch.Generator().manual_seed(0)
    child, parent = (torch.randn(300, 12, generator=generator) for _ in range(2))
    bounds = [(first, first + 2) for first in range(0, 12, 2)]

    def found(count):
        torch.set_num_threads(count)
        options = {"child_bounds": bounds, "parent_bounds": bounds, "memory_mb": 1}
        return layer_information(child + parent, parent, **options)

    assert torch.equal(found(threads), found(1))
