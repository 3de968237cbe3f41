"""Images are read as the values that the network sees, pixel by pixel with the images of a tile innermost."""

import numpy as np
import pytest
from numba import njit

from snip_cli.training.sparse.images import Images, reading_of, squares_of
from snip_cli.training.sparse.kernels.products import OPTIONS
from snip_cli.training.sparse.kernels.reading import read_tile


@njit(**OPTIONS)
def read(images, reading, rows, out, at):
    read_tile(images, reading, rows, out, at)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("pixels", "images"), [(16, 16), (21, 16), (21, 3), (49, 1)])
def test_each_pixel_that_is_read_lies_where_its_place_says(pixels, images, dtype):
    draw = np.random.default_rng(pixels + images)
    split = Images(
        draw.integers(0, 256, (40, pixels), dtype=np.uint8),
        draw.normal(size=pixels).astype(dtype),
        draw.normal(size=pixels).astype(dtype),
        np.zeros(40, np.int64),
    )
    chosen = np.flatnonzero(draw.random(pixels) < 0.5)
    rows, out = draw.permutation(40)[:images], np.full((len(chosen) + 1) * 48, np.nan, dtype)
    read(split, reading_of(chosen, pixels, 48), rows, out, 16)
    found = out.reshape(-1, 48)
    expected = (split.pixels[rows] * split.scales.astype(np.float64) + split.shifts)[:, chosen].T
    tolerance = {np.float32: 1e-6, np.float64: 1e-14}[dtype]
    np.testing.assert_allclose(found[:-1, 16 : 16 + images], expected, rtol=tolerance, atol=tolerance)
    assert np.isnan(found[:, :16]).all() and np.isnan(found[:, 32:]).all()
    # A tile of fewer images repeats its last one.
    assert (found[:-1, 16 + images : 32] == found[:-1, [15 + images]]).all()


def test_squares_hold_all_pixels_that_are_read_and_no_more_than_needed():
    assert squares_of(np.array([0, 15, 40]), 49).tolist() == [0, 32]
    assert squares_of(np.array([48]), 49).tolist() == [33]
    assert squares_of(np.arange(0), 49).tolist() == []
