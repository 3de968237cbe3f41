import hashlib

import pytest
import torch

from snip_cli.runtime.streams import generator


def draws(*stream):
    return torch.rand(5, generator=generator(*stream))


def test_a_stream_gives_the_same_numbers_every_time():
    assert torch.equal(draws(3, "weights", 2), draws(3, "weights", 2))


@pytest.mark.parametrize("other", [(4, "weights", 2), (3, "batch order", 2), (3, "weights", 1), (3, "weights")])
def test_seed_name_and_number_each_make_another_stream(other):
    assert not torch.equal(draws(3, "weights", 2), draws(*other))


def test_a_stream_is_a_hash_of_its_name_and_so_the_same_in_every_process():
    digest = hashlib.sha256(b"7/weights/0").digest()
    assert generator(7, "weights").initial_seed() == int.from_bytes(digest[:8], "big") // 2


def test_a_stream_neither_reads_nor_moves_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = draws(0, "weights")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(draws(0, "weights"), first)


def test_a_stream_lives_on_the_cpu_so_that_every_device_gets_the_same_numbers():
    assert generator(0, "weights").device.type == "cpu"
