"""How wide the hash's buckets are: one rule, from the number of samples and the number of hashed coordinates."""

import torch
from torch import Tensor

BANDWIDTH = 6.0
SPREAD = (0.8, 1.2)


def default_bandwidth(samples: int) -> float:
    """The bucket width, in standard deviations of a coordinate: 6 · N^(-1/4) for N samples.

    -1/4 is EDGE's exponent -1/(1+d) (Noshad et al. 2018) for the d = 3 coordinates, one each of X, Y and Z: the samples of a cell grow as N^(1/4) while the
    width falls, so bias and variance both vanish. Coordinates are standardised and a Gaussian one fills about 4.13 / width buckets, so that a
    thousand dimensions behind Z's coordinate make no more buckets than one does. The factor 6 is our choice, measured (`scripts/acmi_accuracy`, results/snacs): at
    N = 2,000 the width is 0.90, which makes about 5 buckets a coordinate and 20 samples a cell.
    """
    return BANDWIDTH * samples ** (-1 / 4)


def ensemble_bandwidths(width: float, members: int) -> Tensor:
    """The widths of an ensemble's members, evenly from 0.8 to 1.2 times `width` (float64); one member has `width` itself."""
    if members == 1:
        return torch.tensor([width], dtype=torch.float64)
    return width * torch.linspace(*SPREAD, members, dtype=torch.float64)
