"""The loss that training minimises, and the one that it reports."""

import torch.nn.functional as F
from torch import Tensor


def training_losses(
    outputs_BK: Tensor, labels_B: Tensor, smoothing: float, *, reduction: str = "mean"
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy with label smoothing, and without: in nats, the second without a gradient.

    With smoothing ε the target of an image is 1 - ε for its own class plus ε/K for each of the K classes (Szegedy et al., 2016).
    Losses with and without smoothing do not compare, so only the second is reported.
    """
    plain = F.cross_entropy(outputs_BK, labels_B, reduction=reduction)
    if smoothing == 0:
        return plain, plain.detach()
    return F.cross_entropy(outputs_BK, labels_B, reduction=reduction, label_smoothing=smoothing), plain.detach()
