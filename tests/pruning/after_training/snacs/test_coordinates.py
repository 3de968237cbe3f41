"""By how much choosing directions raises the correlation of independent groups."""

import pytest
import torch

from snip_cli.pruning.after_training.snacs.acmi import layer_information
from snip_cli.pruning.after_training.snacs.coordinates import selection_excess


@pytest.fixture(autouse=True)
def _no_results_of_other_tests():
    selection_excess.cache_clear()
    yield
    selection_excess.cache_clear()


@pytest.fixture
def held(monkeypatch):
    """Record the bytes of every block of matrices."""
    nbytes = []
    values = torch.linalg.svdvals
    monkeypatch.setattr("torch.linalg.svdvals", lambda matrices: (nbytes.append(matrices.nbytes), values(matrices))[1])
    return nbytes


def limit_memory(monkeypatch, memory_mb):
    monkeypatch.setattr("snip_cli.pruning.after_training.snacs.coordinates.MEMORY_MB", memory_mb)


@pytest.mark.parametrize("memory_mb", [0, 1])
@pytest.mark.parametrize(("child", "parent"), [(1, 3), (2, 4), (5, 7), (40, 33)])
def test_drawn_in_blocks_it_is_what_it_is_in_one(child, parent, memory_mb, monkeypatch):
    limit_memory(monkeypatch, memory_mb)
    matrices = torch.randn(2000, child, parent, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.linalg.svdvals(matrices)[:, 0].square().mean().item() - 1
    assert selection_excess(child, parent) == expected


def test_the_blocks_fit_the_memory(held, monkeypatch):
    limit_memory(monkeypatch, 1)
    selection_excess(40, 32)
    assert sum(held) == 2000 * 40 * 32 * 8
    assert max(held) <= 2**20


def test_the_estimator_draws_within_the_memory(held, monkeypatch):
    limit_memory(monkeypatch, 1)
    activations_NC = torch.randn(50, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    bounds = [(0, 30), (30, 60)]
    layer_information(activations_NC, activations_NC.flip(0), child_bounds=bounds, parent_bounds=bounds)
    assert max(held) <= 2**20


@pytest.mark.parametrize("sizes", [(1, 1), (0, 3), (3, 0)])
def test_single_channels_and_none_leave_no_choice(sizes):
    assert selection_excess(*sizes) == 0.0
