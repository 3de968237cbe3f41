"""Modules that compaction puts before a layer: one adds a channel of ones, one selects features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Ones(nn.Module):
    """Appends a channel of ones, N×C×… → N×(C+1)×….

    It replaces all constant channels that a convolution with zero padding reads. Their sum differs at the borders, so
    it is not a bias.
    """

    def forward(self, images_NC: Tensor) -> Tensor:
        return F.pad(images_NC, (*[0] * (2 * images_NC.dim() - 3), 1), value=1.0)


class Selected(nn.Module):
    """Selects the features that the next layer reads, by number; N×…×I → N×…×`count`."""

    feature: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("feature", torch.zeros(count, dtype=torch.int64))

    def forward(self, features_NI: Tensor) -> Tensor:
        return features_NI.index_select(-1, self.feature)
