"""Augmentation of whole batches on the device: horizontal flip and translation (Section 5 of Lee et al. 2019).

Shapes: images_BCHW, numbers_B int64.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class FlipTranslate:
    """Each image is flipped in `flip_quarters` of four cases and moved in `translate_quarters` of four.

    A move is uniform over the whole numbers of [-`pixels`, `pixels`] in x and in y; what comes in from outside is zero, which is
    the mean colour after normalisation.
    """

    flip_quarters: int
    translate_quarters: int
    pixels: int

    def __call__(self, images_BCHW: Tensor, numbers_B: Tensor) -> Tensor:
        """The augmented batch; each image's case follows from its random number alone, on any device."""
        height, width = images_BCHW.shape[2:]
        flip_B, rest_B = numbers_B % 4 < self.flip_quarters, numbers_B // 4
        move_B, rest_B = rest_B % 4 < self.translate_quarters, rest_B // 4
        steps = 2 * self.pixels + 1
        down_B = torch.where(move_B, rest_B % steps, self.pixels)
        right_B = torch.where(move_B, rest_B // steps % steps, self.pixels)
        # Places in the image with a border of `pixels` on every side.
        row_BH = torch.arange(height, device=images_BCHW.device) + down_B[:, None]
        column_W = torch.arange(width, device=images_BCHW.device)
        column_BW = torch.where(flip_B[:, None], column_W.flip(0), column_W) + right_B[:, None]
        image_B = torch.arange(len(images_BCHW), device=images_BCHW.device)
        padded_BCHW = F.pad(images_BCHW, [self.pixels] * 4)
        moved_BHWC = padded_BCHW.permute(0, 2, 3, 1)[image_B[:, None, None], row_BH[:, :, None], column_BW[:, None, :]]
        return moved_BHWC.permute(0, 3, 1, 2)


def resident_augmentation(name: str, pixels: int) -> FlipTranslate | None:
    """The augmentation called `name`: None for `none`; KeyError where it is not one for resident data."""
    return {
        "none": None,
        "flip_translate": FlipTranslate(2, 4, pixels),
        # The released code draws how many of the two operations an image gets, and then whether the flip flips.
        "flip_translate_released": FlipTranslate(1, 2, pixels),
    }[name]
