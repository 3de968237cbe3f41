"""What the other parents explain linearly, taken out.

I(X; Y | Z) = I(X - f(Z); Y - h(Z) | Z) for any f and h, since given Z both are shifts by constants. A hash of hundreds of dimensions has to be so coarse that
most of what Z says about X and Y is lost; with the linear part taken out first, the coarse buckets have only the rest to account for.

N samples, C parent channels, D channels of one group, U columns of the child layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from snip_cli.pruning.snacs.hashing import Bounds

# The ridge, as a share of C / N, in units of a channel's variance: it keeps copied channels, and more channels than samples, from division by zero.
RIDGE = 0.1


@dataclass(frozen=True)
class ParentResidual:
    """A parent group's channels less their regression on all others, also with a row of ones below for offsets (E = D + 1), and their covariance."""

    value_ND: Tensor
    with_ones_EN: Tensor
    covariance_DD: Tensor


class Residuals:
    """Ridge regression on all parents outside a group, for every group from one inverse (block inversion); `parent_NC` is standardised, float64."""

    def __init__(self, parent_NC: Tensor, bounds: Bounds) -> None:
        samples, channels = parent_NC.shape
        ridge_CC = RIDGE * channels / samples * torch.eye(channels, dtype=torch.float64, device=parent_NC.device)
        self.parent_NC = parent_NC
        self.bounds = bounds
        self.precision_CC = torch.linalg.inv(parent_NC.T @ parent_NC / samples + ridge_CC)
        filtered_NC = parent_NC @ self.precision_CC
        self.parents = [self.of_parent(filtered_NC, first, last) for first, last in bounds]

    def of_parent(self, filtered_NC: Tensor, first: int, last: int) -> ParentResidual:
        """Parent channels first … last - 1."""
        block_DD = self.precision_CC[first:last, first:last]
        value_ND = torch.linalg.solve(block_DD, filtered_NC[:, first:last], left=False)
        with_ones_EN = torch.cat([value_ND.T, value_ND.new_ones(1, len(value_ND))])
        return ParentResidual(value_ND, with_ones_EN, value_ND.T @ value_ND / len(value_ND))

    def of_child(self, child_NU: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Child columns less their regression on all parents (U×N); and for each parent group its slopes (U×D), and the variance (U×1) of what is left without it.

        Without a group among the regressors the residual is the first plus the group's own slopes times the group's residual.
        """
        slope_CU = self.precision_CC @ (self.parent_NC.T @ child_NU / len(child_NU))
        rest_NU = child_NU - self.parent_NC @ slope_CU
        variance_U1 = rest_NU.square().mean(0)[:, None]
        of_group = []
        for (first, last), parent in zip(self.bounds, self.parents, strict=True):
            slope_UD = slope_CU[first:last].T
            covariance_UD = rest_NU.T @ parent.value_ND / len(rest_NU)
            own_U1 = (slope_UD * (2 * covariance_UD + slope_UD @ parent.covariance_DD)).sum(1, keepdim=True)
            of_group.append((slope_UD, (variance_U1 + own_U1).clamp_min(0)))
        return rest_NU.T.contiguous(), of_group
