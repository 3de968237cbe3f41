"""Exponentials in single precision, and the loss, against double precision and PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numba import njit

from snip_cli.training.sparse.kernels.numbers import cross_entropy, errors, exp
from snip_cli.training.sparse.kernels.products import OPTIONS


@njit(**OPTIONS)
def exponentials(values, found):
    for number in range(len(values)):
        found[number] = exp(values[number])


@njit(**OPTIONS)
def loss_of(outputs, stride, classes, labels, count, slopes, room, more_room):
    return cross_entropy(outputs, 0, stride, classes, labels, count, slopes, room, more_room)


@njit(**OPTIONS)
def errors_of(outputs, stride, classes, labels, count):
    return errors(outputs, 0, stride, classes, labels, count)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-7), (np.float64, 1e-15)])
def test_an_exponential_is_accurate(dtype, tolerance):
    values = np.linspace(-87, 88, 100_001).astype(dtype)
    found = np.empty_like(values)
    exponentials(values, found)
    np.testing.assert_allclose(found, np.exp(values.astype(np.float64)), rtol=tolerance)


def test_an_exponential_is_limited_in_single_precision_and_keeps_nan():
    found = np.zeros(3, np.float32)
    exponentials(np.array([-1e4, 1e4, np.nan], np.float32), found)
    assert 0 < found[0] < 1e-37 and 1e38 < found[1] < np.inf and np.isnan(found[2])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_loss_gradient_and_errors_are_those_of_pytorch_for_the_images_there_are(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    outputs_KB = torch.randn(10, 16, generator=generator).numpy().astype(dtype) * 3
    labels_B = torch.randint(10, (16,), generator=generator)
    count, stride = 13, 32
    padded = np.zeros((10, stride), dtype)
    padded[:, :16] = outputs_KB
    slopes, room, more_room = np.full(padded.size, 7, dtype), np.zeros(16, dtype), np.zeros(16, dtype)
    loss = loss_of(padded.ravel(), stride, 10, labels_B.numpy(), count, slopes, room, more_room)
    outputs_BK = torch.from_numpy(outputs_KB.T.copy()).requires_grad_()
    expected = F.cross_entropy(outputs_BK[:count], labels_B[:count])
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=tolerance)
    np.testing.assert_allclose(slopes.reshape(10, stride)[:, :16].T, outputs_BK.grad, atol=tolerance)
    wrong, total = errors_of(padded.ravel(), stride, 10, labels_B.numpy(), count)
    assert wrong == int((outputs_BK[:count].argmax(dim=1) != labels_B[:count]).sum())
    assert total == pytest.approx(count * expected.item(), rel=tolerance)
