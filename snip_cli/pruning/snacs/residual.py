"""What the other parents explain linearly, taken out.

I(X; Y | Z) = I(X - f(Z); Y - h(Z) | Z) for any f and h, since given Z both are shifts by constants. A hash of hundreds of dimensions has to be so coarse that
most of what Z says about X and Y is lost; with the linear part taken out first, the coarse buckets have only the rest to account for.

N samples, C parent channels, H parent groups, D channels of the largest (smaller ones are padded with 0), E = D + 1, U columns of the child layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from snip_cli.pruning.snacs.hashing import Bounds

# The ridge, as a share of C / N, in units of a channel's variance: it keeps copied channels, and more channels than samples, from division by zero.
RIDGE = 0.1


@dataclass(frozen=True)
class ChildResidual:
    """Child columns less their regression on all parents (U×N); for each parent group its slopes (H×U×D), and the variance (H×U×1) of what is left without it.

    Without a group among the regressors, the residual is the first plus the group's own slopes times the group's residual.
    """

    value_UN: Tensor
    slope_HUD: Tensor
    variance_HU1: Tensor


class Residuals:
    """Ridge regression on all parents outside a group, for every group from one inverse (block inversion); `parent_NC` is standardised, float64.

    `values`: each parent group's channels less their regression on all others, N×(its channels). `with_ones_HEN`: the same, padded, above a row of ones.
    """

    def __init__(self, parent_NC: Tensor, bounds: Bounds) -> None:
        samples, channels = parent_NC.shape
        ridge_CC = RIDGE * channels / samples * torch.eye(channels, dtype=torch.float64, device=parent_NC.device)
        self.parent_NC = parent_NC
        self.bounds = bounds
        self.size = max(last - first for first, last in bounds)
        self.precision_CC = torch.linalg.inv(parent_NC.T @ parent_NC / samples + ridge_CC)
        filtered_NC = parent_NC @ self.precision_CC
        self.values = [
            torch.linalg.solve(self.precision_CC[first:last, first:last], filtered_NC[:, first:last], left=False)
            for first, last in bounds
        ]
        self.with_ones_HEN = parent_NC.new_zeros(len(bounds), self.size + 1, samples)
        for rows_EN, value_ND in zip(self.with_ones_HEN, self.values, strict=True):
            rows_EN[: value_ND.shape[1]] = value_ND.T
            rows_EN[-1] = 1
        value_HDN = self.with_ones_HEN[:, :-1]
        self.covariance_HDD = value_HDN @ value_HDN.mT / samples

    def of_child(self, child_NU: Tensor) -> ChildResidual:
        """The child's columns (centred)."""
        samples = len(child_NU)
        slope_CU = self.precision_CC @ (self.parent_NC.T @ child_NU / samples)
        rest_NU = child_NU - self.parent_NC @ slope_CU
        slopes = [pad(slope_CU[first:last].T, (0, self.size - (last - first))) for first, last in self.bounds]
        slope_HUD = torch.stack(slopes)
        covariance_HUD = (self.with_ones_HEN[:, :-1] @ rest_NU).mT / samples
        own_HU1 = (slope_HUD * (2 * covariance_HUD + slope_HUD @ self.covariance_HDD)).sum(2, keepdim=True)
        variance_HU1 = (rest_NU.square().mean(0)[:, None] + own_HU1).clamp_min(0)
        return ChildResidual(rest_NU.T.contiguous(), slope_HUD, variance_HU1)
