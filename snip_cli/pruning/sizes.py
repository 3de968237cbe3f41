"""How large a pruned network's weights are where they are kept as compressed sparse matrices, as the authors of SNACS and MINT count."""

import io
from collections.abc import Mapping

from torch import Tensor


def sparse_megabytes(weights: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> float:
    """MiB of the masked weights, without biases and batch-norm, each as a zip-compressed sparse matrix C_out × the rest.

    Args:
        weights: the trained network's parameters by name, on the CPU; more than those of `mask` may be there.
        mask: the prunable parameters by name.
    """
    from scipy.sparse import csr_matrix, save_npz

    total = 0
    for name, keep in mask.items():
        if keep.dim() > 1:
            file = io.BytesIO()
            save_npz(file, csr_matrix(weights[name].flatten(1).numpy()))
            total += file.getbuffer().nbytes
    return total / 2**20
