"""What the other parents explain linearly, taken out.

I(X; Y | Z) = I(X - f(Z); Y - h(Z) | Z) for any f and h, since given Z both are shifts by constants. A hash of hundreds of dimensions has to be so coarse that
most of what Z says about X and Y is lost; with the linear part taken out first, the coarse buckets have only the rest to account for.

N samples, C parent channels, D channels of one group, U columns of the child layer.
"""

import torch
from torch import Tensor

# The ridge, as a share of C / N, in units of a channel's variance: it keeps copied channels, and more channels than samples, from division by zero.
RIDGE = 0.1


class Residuals:
    """Ridge regression on all parents outside a group, for every group from one inverse (block inversion); `parent_NC` is standardised, float64."""

    def __init__(self, parent_NC: Tensor) -> None:
        samples, channels = parent_NC.shape
        ridge_CC = RIDGE * channels / samples * torch.eye(channels, dtype=torch.float64, device=parent_NC.device)
        self.parent_NC = parent_NC
        self.precision_CC = torch.linalg.inv(parent_NC.T @ parent_NC / samples + ridge_CC)

    def of_parent(self, first: int, last: int) -> Tensor:
        """Parent channels first … last - 1, less their regression on all others: N×D."""
        filtered_ND = self.parent_NC @ self.precision_CC[:, first:last]
        return torch.linalg.solve(self.precision_CC[first:last, first:last], filtered_ND, left=False)

    def of_child(self, child_NU: Tensor) -> tuple[Tensor, Tensor]:
        """Child columns less their regression on all parents (U×N), and its slopes (C×U)

        Without a group's channels among the regressors the residual is the first plus the group's own slopes times the group's `of_parent`.
        """
        slope_CU = self.precision_CC @ (self.parent_NC.T @ child_NU / len(child_NU))
        return (child_NU - self.parent_NC @ slope_CU).T.contiguous(), slope_CU
