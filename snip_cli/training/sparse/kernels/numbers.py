"""Element-wise arithmetic of the kernels: exponentials, the loss and its gradient, and the optimizers.

The loops are plain, and LLVM vectorises them. B: images of a batch, K: classes; values lie class by class, image by image.
"""

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

from snip_cli.training.sparse.kernels.products import INNER, OPTIONS

# e^x = 2^n · e^r with |r| ≤ ln(2)/2. ln(2) in two parts, so that r keeps its digits; the series of e^r ends at r^7/7!.
LOG2E, LN2_HIGH, LN2_LOW = np.float32(1 / math.log(2)), np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
SERIES = tuple(np.float32(1 / math.factorial(power)) for power in range(7, 1, -1))
# Beyond these, 2^n is no normal number.
LOWEST, HIGHEST = np.float32(-87.0), np.float32(88.0)


def exp(x):
    """Return e^x. In float32 by a series that vectorises, to a relative error of 2e-7, for x limited to [-87, 88]."""
    return math.exp(x)


@overload(exp, jit_options=OPTIONS, inline="always")
def exp_of(x):
    if x == types.float32:
        return exp_by_series
    return lambda x: math.exp(x)


def exp_by_series(x):
    limited = min(max(x, LOWEST), HIGHEST)
    power = np.floor(limited * LOG2E + np.float32(0.5))
    rest = limited - power * LN2_HIGH - power * LN2_LOW
    series = SERIES[0]
    for factor in SERIES[1:]:
        series = series * rest + factor
    scale = np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (series * rest * rest + rest + np.float32(1)) * scale


def type_of(x, number):
    """Return `number` in the type of `x`."""
    return type(x)(number)


@overload(type_of, jit_options=OPTIONS, inline="always")
def in_type_of(x, number):
    single = x == types.float32
    return (lambda x, number: np.float32(number)) if single else (lambda x, number: np.float64(number))


@njit(**INNER)
def cross_entropy(outputs, at, stride, classes, labels, count, slopes, highest, sums):
    """Return the mean cross-entropy of `count` images in nats; its gradient goes to `slopes`, at the places of the outputs.

    Args:
        at, stride: where the first class's row of B values begins, and the distance to the next row's.
        labels: of the B images; the slopes of images from `count` on are 0.
        highest, sums: room for B numbers each.
    """
    one, share = type_of(outputs[at], 1), type_of(outputs[at], 1 / count)
    for image in range(len(labels)):
        highest[image], sums[image] = outputs[at + image], 0
    for place in range(at + stride, at + classes * stride, stride):
        for image in range(len(labels)):
            highest[image] = max(highest[image], outputs[place + image])
    for place in range(at, at + classes * stride, stride):
        for image in range(len(labels)):
            slopes[place + image] = exp(outputs[place + image] - highest[image])
            sums[image] += slopes[place + image]
    loss = 0.0
    for image in range(count):
        loss += math.log(sums[image]) + highest[image] - outputs[at + labels[image] * stride + image]
    for image in range(len(labels)):
        sums[image] = share / sums[image] if image < count else one - one
    for place in range(at, at + classes * stride, stride):
        for image in range(len(labels)):
            slopes[place + image] *= sums[image]
    for image in range(count):
        slopes[at + labels[image] * stride + image] -= share
    return loss / count


@njit(**INNER)
def errors(outputs, at, stride, classes, labels, count):
    """Return how many of `count` images are classified wrongly, and the sum of their cross-entropies in nats."""
    wrong, loss = 0, 0.0
    for image in range(count):
        best, chosen = outputs[at + image], 0
        for number in range(1, classes):
            value = outputs[at + number * stride + image]
            if value > best:
                best, chosen = value, number
        total = 0.0
        for number in range(classes):
            total += math.exp(np.float64(outputs[at + number * stride + image]) - best)
        wrong += chosen != labels[image]
        loss += math.log(total) + best - outputs[at + labels[image] * stride + image]
    return wrong, loss


@njit(**INNER)
def sgd(weights, gradients, momenta, rate, momentum, decay, nesterov):
    """Do one step of SGD with momentum, as PyTorch defines it."""
    for number in range(len(weights)):
        slope = gradients[number] + decay * weights[number]
        momenta[number] = momentum * momenta[number] + slope
        weights[number] -= rate * (slope + momentum * momenta[number] if nesterov else momenta[number])


@njit(**INNER)
def adam(weights, gradients, means, squares, step, rate, decay):
    """Do step number `step`, counted from 1, of Adam with the constants of Kingma & Ba (2015), as PyTorch defines it."""
    first, second, least, one = type_of(rate, 0.9), type_of(rate, 0.999), type_of(rate, 1e-8), type_of(rate, 1)
    size = type_of(rate, rate / (1 - 0.9**step))
    root = type_of(rate, math.sqrt(1 - 0.999**step))
    for number in range(len(weights)):
        slope = gradients[number] + decay * weights[number]
        means[number] += (one - first) * (slope - means[number])
        squares[number] = second * squares[number] + (one - second) * slope * slope
        weights[number] -= size * means[number] / (np.sqrt(squares[number]) / root + least)
