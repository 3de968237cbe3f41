"""What the other parents explain linearly, taken out.

I(X; Y | Z) = I(X - f(Z); Y - h(Z) | Z) for any f and h, since given Z both are shifts by constants. A hash of hundreds of dimensions has to be so coarse that
most of what Z says about X and Y is lost; with the linear part taken out first, the coarse buckets have only the rest to account for.

N samples, C parent channels, U child channels, G child and H parent groups, E channels of the largest child, D of the largest parent group (smaller ones are
padded with 0).
"""

import torch
from torch import Tensor

from snip_cli.pruning.after_training.snacs.hashing import Bounds

# The ridge, as a share of C / N, in units of a channel's variance: it keeps copied channels, and more channels than samples, from division by zero.
RIDGE = 0.1


class Residuals:
    """Groups less their ridge regression on all parents outside a parent group, for every group from one inverse (block inversion).

    `parent_HDN`: the parent groups' residuals. `child_GEN`: the child groups less their regression on all parents; with `slope_GEC`, the slopes
    of that regression, the residual of child group g without parent group h is child[g] + slope[g, :, h's channels] · parent[h].
    With `residual` off nothing is taken out: the groups as they are, and slopes of 0. Activations are standardised, float64.
    """

    def __init__(
        self, child_NU: Tensor, parent_NC: Tensor, child_bounds: Bounds, parent_bounds: Bounds, *, residual: bool
    ) -> None:
        samples, channels = parent_NC.shape
        self.parent_HDN = grouped(parent_NC, parent_bounds)
        self.child_GEN = grouped(child_NU, child_bounds)
        self.slope_GEHD = child_NU.new_zeros(*self.child_GEN.shape[:2], *self.parent_HDN.shape[:2])
        if not residual:
            return
        ridge_CC = RIDGE * channels / samples * torch.eye(channels, dtype=torch.float64, device=parent_NC.device)
        precision_CC = torch.linalg.inv(parent_NC.T @ parent_NC / samples + ridge_CC)
        filtered_NC = parent_NC @ precision_CC
        slope_CU = precision_CC @ (parent_NC.T @ child_NU / samples)
        self.child_GEN = grouped(child_NU - parent_NC @ slope_CU, child_bounds)
        for h, (first, last) in enumerate(parent_bounds):
            block_DD = precision_CC[first:last, first:last]
            self.parent_HDN[h, : last - first] = torch.linalg.solve(block_DD, filtered_NC[:, first:last].T)
            self.slope_GEHD[:, :, h, : last - first] = grouped(slope_CU[first:last], child_bounds)


def grouped(values_NC: Tensor, bounds: Bounds) -> Tensor:
    """Columns by group: H×D×N, smaller groups padded with 0."""
    size = max(last - first for first, last in bounds)
    groups_HDN = values_NC.new_zeros(len(bounds), size, len(values_NC))
    for group_DN, (first, last) in zip(groups_HDN, bounds, strict=True):
        group_DN[: last - first] = values_NC[:, first:last].T
    return groups_HDN
