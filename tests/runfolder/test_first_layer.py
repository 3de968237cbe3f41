"""The first layer's mask → weights kept per pixel → PNG."""

import io

import numpy
import pytest
from PIL import Image

from snip_cli.runfolder.events import as_png, first_layer

# Three units on two channels of 2×3 pixels: unit u keeps the pixels that are u or more.
KEEP_UI = numpy.array([[i % 6 >= u for i in range(12)] for u in range(3)])


def test_each_pixel_counts_its_weights_over_units_and_channels():
    kept = first_layer({"fc1.weight": KEEP_UI, "fc1.bias": numpy.ones(3, bool)}, [2, 2, 3])
    assert kept.tolist() == [[2, 4, 6], [6, 6, 6]]


@pytest.mark.parametrize("shape", [(3, 28), (3, 1, 2, 6)], ids=["reads rows", "convolves"])
def test_a_layer_that_is_not_linear_on_the_pixels_has_no_picture(shape):
    assert first_layer({"first.weight": numpy.ones(shape, bool)}, [1, 28, 28]) is None


def test_a_picture_is_scaled_to_its_own_largest_number():
    picture = Image.open(io.BytesIO(as_png(numpy.array([[0, 2], [4, 8]]), enlarged=2)))
    assert picture.size == (4, 4)
    assert numpy.asarray(picture)[::2, ::2].tolist() == [[0, 64], [128, 255]]


def test_a_layer_that_lost_everything_is_black():
    picture = Image.open(io.BytesIO(as_png(numpy.zeros((2, 2), int))))
    assert not numpy.asarray(picture).any()
