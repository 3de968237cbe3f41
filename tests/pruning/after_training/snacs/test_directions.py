"""What choosing directions adds to the correlation of independent groups."""

import pytest
import torch

from snip_cli.pruning.after_training.snacs.directions import selection_excess


def in_one_block(child, parent, pairs):
    """All the matrices at once."""
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(2000, child, parent, generator=generator, dtype=torch.float64)
    return torch.linalg.svdvals(matrices)[:, :pairs].square().sum(1).mean().item() - pairs


@pytest.fixture
def held(monkeypatch):
    """The bytes of every block of matrices."""
    nbytes = []
    values = torch.linalg.svdvals
    monkeypatch.setattr("torch.linalg.svdvals", lambda matrices: (nbytes.append(matrices.nbytes), values(matrices))[1])
    return nbytes


@pytest.mark.parametrize("memory_mb", [0, 1])
@pytest.mark.parametrize(("child", "parent", "pairs"), [(1, 3, 1), (2, 4, 2), (5, 7, 3), (40, 33, 1)])
def test_drawn_in_blocks_it_is_what_it_is_in_one(child, parent, pairs, memory_mb):
    assert selection_excess(child, parent, pairs, memory_mb=memory_mb) == in_one_block(child, parent, pairs)


def test_the_blocks_fit_the_memory(held):
    selection_excess(40, 32, 1, memory_mb=1)
    assert sum(held) == 2000 * 40 * 32 * 8
    assert max(held) <= 2**20


def test_the_estimator_s_memory_bounds_it(held):
    from snip_cli.pruning.after_training.snacs.acmi import layer_information

    activations_NC = torch.randn(50, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bounds = [(0, 30), (30, 60)]
    layer_information(activations_NC, activations_NC.flip(0), child_bounds=bounds, parent_bounds=bounds, memory_mb=1)
    assert max(held) <= 2**20


@pytest.mark.parametrize("sizes", [(1, 1), (0, 3), (3, 0)])
def test_single_channels_and_none_leave_no_choice(sizes):
    assert selection_excess(*sizes, 1) == 0.0
