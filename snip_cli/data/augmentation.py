"""Augmentation of a whole batch on the device: horizontal flip and translation (Section 5 of Lee et al. 2019).

Shapes: images_BCHW, numbers_B int64.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class FlipTranslate:
    """Flips each image with probability 1/2 and translates it.

    The translation is uniform over the integers in [-`pixels`, `pixels`] in x and in y. Pixels from outside the image
    are zero, the mean colour after normalisation. With `released`, as in the released code, an image gets none, one or
    both of the two operations, each with probability 1/3, and an image that gets the flip is flipped with probability
    1/2.
    """

    pixels: int
    released: bool = False

    def __call__(self, images_BCHW: Tensor, numbers_B: Tensor) -> Tensor:
        """Return the augmented batch. What happens to an image follows from its random number alone, on any device."""
        height, width = images_BCHW.shape[2:]
        flip_B, rest_B = numbers_B % 2 == 1, numbers_B // 2
        move_B = torch.ones_like(flip_B)
        if self.released:
            operations_B, one_B, rest_B = rest_B % 3, rest_B // 3 % 2, rest_B // 6
            flip_B = flip_B & ((operations_B == 2) | ((operations_B == 1) & (one_B == 0)))
            move_B = (operations_B == 2) | ((operations_B == 1) & (one_B == 1))
        steps = 2 * self.pixels + 1
        down_B = torch.where(move_B, rest_B % steps, self.pixels)
        right_B = torch.where(move_B, rest_B // steps % steps, self.pixels)
        # Row and column numbers in the image that is padded by `pixels` on every side.
        row_BH = torch.arange(height, device=images_BCHW.device) + down_B[:, None]
        column_W = torch.arange(width, device=images_BCHW.device)
        column_BW = torch.where(flip_B[:, None], column_W.flip(0), column_W) + right_B[:, None]
        image_B = torch.arange(len(images_BCHW), device=images_BCHW.device)
        padded_BCHW = F.pad(images_BCHW, [self.pixels] * 4)
        moved_BHWC = padded_BCHW.permute(0, 2, 3, 1)[image_B[:, None, None], row_BH[:, :, None], column_BW[:, None, :]]
        return moved_BHWC.permute(0, 3, 1, 2)


def resident_augmentation(name: str, pixels: int) -> FlipTranslate:
    """Return the augmentation `name` for resident data."""
    assert name in ("flip_translate", "flip_translate_released")
    return FlipTranslate(pixels, released=name == "flip_translate_released")
