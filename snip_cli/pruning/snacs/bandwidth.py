"""How wide the hash's buckets are: one rule, from the number of samples and the number of hashed coordinates."""

import torch
from torch import Tensor

BANDWIDTH = 6.0
SPREAD = (0.8, 1.2)


def default_bandwidth(samples: int, coordinates: int) -> float:
    """The bucket width, in standard deviations of a coordinate: 6 · N^(-1/(1+r)), for N samples and r coordinates of X, Y and Z together.

    The exponent is EDGE's (Noshad et al. 2018): the samples of a cell, about (6/4.13)^r · N^(1/(1+r)), grow with N while the width falls, so bias
    and variance both vanish. Coordinates are standardised and a Gaussian one fills about 4.13 / width buckets, so a thousand dimensions
    behind a coordinate make no more buckets than one does. The factor 6 is our choice, measured (`scripts/acmi_accuracy`, results/snacs):
    at N = 2,000 and r = 3 the width is 0.90, about 5 buckets a coordinate and 20 samples a cell.
    """
    return BANDWIDTH * samples ** (-1 / (1 + coordinates))


def ensemble_bandwidths(width: float, members: int) -> Tensor:
    """The widths of an ensemble's members, evenly from 0.8 to 1.2 times `width` (float64); one member has `width` itself."""
    if members == 1:
        return torch.tensor([width], dtype=torch.float64)
    return width * torch.linspace(*SPREAD, members, dtype=torch.float64)
