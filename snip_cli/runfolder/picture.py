"""The first layer of a network as a picture: what each pixel keeps (Figure 2 of Lee et al. 2019). Imports no torch.

Shapes: U units, I = C·H·W inputs of an image of C channels, H×W pixels.
"""

import io
import math
from collections.abc import Mapping, Sequence

import numpy


def first_layer(mask: Mapping[str, numpy.ndarray], shape: Sequence[int]) -> numpy.ndarray | None:
    """How many weights of the first layer each pixel keeps, kept_HW, summed over units and channels.

    `mask` is by parameter name, True = kept, the first layer's weight first; `shape` is [C, H, W]. None where that layer is not linear
    on the pixels.
    """
    keep_UI = next(iter(mask.values()))
    if keep_UI.ndim != 2 or keep_UI.shape[1] != math.prod(shape):
        return None
    return numpy.asarray(keep_UI).sum(axis=0).reshape(tuple(shape)).sum(axis=0)


def as_png(kept_HW: numpy.ndarray, enlarged: int = 8) -> bytes:
    """A grey picture in the bytes of a PNG file: black is 0 and white its own largest number; each pixel is a square."""
    from PIL import Image  # not at every run's start

    grey_HW = numpy.round(255 * kept_HW / max(kept_HW.max(), 1)).astype(numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(grey_HW.repeat(enlarged, axis=0).repeat(enlarged, axis=1)).save(file, format="png")
    return file.getvalue()
