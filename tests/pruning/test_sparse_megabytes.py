"""The size of weights as compressed sparse matrices."""

import torch
from scipy.sparse import csr_matrix, load_npz, save_npz

from snip_cli.pruning.mask import sparse_megabytes


def test_the_size_is_that_of_the_files_of_the_weights_without_biases(tmp_path):
    kernel = torch.randn(8, 4, 3, 3) * (torch.rand(8, 4, 3, 3) < 0.2)
    matrix = torch.randn(10, 8)
    weights = {"conv.weight": kernel, "conv.bias": torch.randn(8), "fc.weight": matrix, "norm.weight": torch.ones(8)}
    mask = {
        name: torch.ones(weights[name].shape, dtype=torch.bool) for name in ("conv.weight", "conv.bias", "fc.weight")
    }
    save_npz(tmp_path / "a.npz", csr_matrix(kernel.reshape(8, 36).numpy()))
    save_npz(tmp_path / "b.npz", csr_matrix(matrix.numpy()))
    assert load_npz(tmp_path / "a.npz").shape == (8, 36)
    wanted = sum((tmp_path / name).stat().st_size for name in ("a.npz", "b.npz")) / 2**20
    assert sparse_megabytes(weights, mask) == wanted


def test_a_sparser_network_is_smaller():
    dense = torch.randn(50, 60)
    mask = {"fc.weight": torch.rand(50, 60) < 0.1}
    assert (
        sparse_megabytes({"fc.weight": dense * mask["fc.weight"]}, mask)
        < sparse_megabytes({"fc.weight": dense}, mask) / 4
    )
