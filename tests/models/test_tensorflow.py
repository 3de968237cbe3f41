"""Padding 'SAME' and batch-norm are those of TensorFlow."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from snip_cli.models.tensorflow import SameConv2d, batch_norm_1d, batch_norm_2d, same_padding


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (32, 3, 1, (1, 1)),
        (32, 11, 2, (4, 5)),
        (64, 11, 4, (3, 4)),
        (16, 5, 2, (1, 2)),
        (8, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (32, 1, 2, (0, 0)),
        (5, 4, 1, (1, 2)),
    ],
)
def test_the_odd_zero_goes_after_the_image(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize("kernel", [1, 3, 5, 11])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_side_is_divided_by_the_stride_and_rounded_up(kernel, stride):
    for size in range(1, 40):
        images = torch.empty(1, 1, size, 7, device="meta")
        outputs = SameConv2d(1, 1, kernel, stride).to("meta")(images)
        assert outputs.shape[2] == (size + stride - 1) // stride


def test_with_padding_on_two_sides_alone_it_is_the_sum_over_the_window():
    layer = SameConv2d(2, 3, 3, stride=2).double()
    images = torch.randn(1, 2, 6, 5, dtype=torch.float64)
    outputs = layer(images)
    for channel, row, column in itertools.product(range(3), range(3), range(3)):
        # The 6 rows start at the image's edge, the 5 columns one pixel before it.
        window = F.pad(images[0], (1, 1, 0, 1))[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        expected = (window * layer.weight[channel]).sum() + layer.bias[channel]
        torch.testing.assert_close(outputs[0, channel, row, column], expected)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_without_a_stride_it_is_a_plain_convolution(kernel):
    layer = SameConv2d(2, 3, kernel)
    images = torch.randn(2, 2, 6, 9)
    assert torch.equal(layer(images), F.conv2d(images, layer.weight, layer.bias, padding="same"))


@pytest.mark.parametrize(("norm", "shape"), [(batch_norm_1d, (64, 5)), (batch_norm_2d, (16, 5, 2, 2))])
def test_batch_norm_keeps_99_percent_of_its_running_mean_and_adds_0_001_to_the_variance(norm, shape):
    layer, values = norm(5), torch.randn(*shape) + 3
    outputs = layer(values)
    over = [axis for axis in range(len(shape)) if axis != 1]
    mean, variance = values.mean(dim=over), values.var(dim=over, correction=0)
    torch.testing.assert_close(layer.running_mean, 0.01 * mean)
    torch.testing.assert_close(outputs.std(dim=over, correction=0), (variance / (variance + 1e-3)).sqrt())
