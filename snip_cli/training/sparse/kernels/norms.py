"""Batch-norm and ReLU over padded planes, in one pass, and their gradient; see `kernels.planes`.

`lanes` holds 1 for each image and 0 for what fills the last tile. Kernels work on the channels [begin, end) of all tiles. Sums over a plane
are taken in the type of the values, sums over tiles in double precision.
"""

from numba import njit

from snip_cli.training.sparse.kernels.choices import larger, where_positive
from snip_cli.training.sparse.kernels.products import ONE, OPTIONS
from snip_cli.training.sparse.kernels.vectors import WIDTH, add, fill, load, multiply, store, total


@njit(cache=True, **OPTIONS)
def moments(values, plane, pitch, height, columns, channels, lanes, count, means, variances, begin, end):
    """Set the mean and the biased variance of each channel over the `count` pixels of all images."""
    tiles = len(lanes) // WIDTH
    for channel in range(begin, end):
        mean, variance = 0.0, 0.0
        for tile in range(tiles):
            one, summed = load(lanes, tile * WIDTH, ONE), fill(values, 0.0, ONE)
            for y in range(height):
                at = (tile * channels + channel) * plane + ((y + 1) * pitch + 1) * WIDTH
                for x in range(columns):
                    summed = add(summed, multiply(load(values, at + x * WIDTH, ONE), one))
            mean += total(summed)
        mean /= count
        center = fill(values, -mean, ONE)
        for tile in range(tiles):
            one, summed = load(lanes, tile * WIDTH, ONE), fill(values, 0.0, ONE)
            for y in range(height):
                at = (tile * channels + channel) * plane + ((y + 1) * pitch + 1) * WIDTH
                for x in range(columns):
                    distance = multiply(add(load(values, at + x * WIDTH, ONE), center), one)
                    summed = add(summed, multiply(distance, distance))
            variance += total(summed)
        means[channel], variances[channel] = mean, variance / count


@njit(cache=True, **OPTIONS)
def normalise(out, values, plane, pitch, height, columns, channels, lanes, scales, shifts, begin, end):
    """Write max(scale · value + shift, 0), and 0 for what is no image."""
    for channel in range(begin, end):
        scale, shift = fill(values, scales[channel], ONE), fill(values, shifts[channel], ONE)
        zero = fill(values, 0.0, ONE)
        for tile in range(len(lanes) // WIDTH):
            one = load(lanes, tile * WIDTH, ONE)
            for y in range(height):
                at = (tile * channels + channel) * plane + ((y + 1) * pitch + 1) * WIDTH
                for x in range(columns):
                    place = at + x * WIDTH
                    value = larger(add(multiply(load(values, place, ONE), scale), shift), zero)
                    store(out, place, multiply(value, one))


@njit(cache=True, **OPTIONS)
def normalise_back(
    out,
    slopes,
    values,
    plane,
    pitch,
    height,
    columns,
    channels,
    lanes,
    count,
    scales,
    shifts,
    means,
    rates,
    given,
    begin,
    end,
):
    """Write the gradients of the values, and to `given` those of batch-norm's weights (row 0) and biases (row 1).

    Args:
        count: the pixels of all images, over which the statistics were taken.
        means, rates: the mean of each channel, and 1 / √(variance + ε).
    """
    tiles = len(lanes) // WIDTH
    for channel in range(begin, end):
        scale, shift = fill(values, scales[channel], ONE), fill(values, shifts[channel], ONE)
        center = fill(values, -means[channel], ONE)
        plain, scaled = 0.0, 0.0
        for tile in range(tiles):
            one = load(lanes, tile * WIDTH, ONE)
            sum_plain, sum_scaled = fill(values, 0.0, ONE), fill(values, 0.0, ONE)
            for y in range(height):
                at = (tile * channels + channel) * plane + ((y + 1) * pitch + 1) * WIDTH
                for x in range(columns):
                    place = at + x * WIDTH
                    value = load(values, place, ONE)
                    slope = where_positive(load(slopes, place, ONE), add(multiply(value, scale), shift))
                    slope = multiply(slope, one)
                    sum_plain = add(sum_plain, slope)
                    sum_scaled = add(sum_scaled, multiply(slope, add(value, center)))
            plain += total(sum_plain)
            scaled += total(sum_scaled)
        given[0, channel], given[1, channel] = scaled * rates[channel], plain
        constant = fill(values, -scales[channel] * plain / count, ONE)
        linear = fill(values, -scales[channel] * scaled * rates[channel] * rates[channel] / count, ONE)
        for tile in range(tiles):
            one = load(lanes, tile * WIDTH, ONE)
            for y in range(height):
                at = (tile * channels + channel) * plane + ((y + 1) * pitch + 1) * WIDTH
                for x in range(columns):
                    place = at + x * WIDTH
                    value = load(values, place, ONE)
                    slope = where_positive(load(slopes, place, ONE), add(multiply(value, scale), shift))
                    through = add(multiply(slope, scale), multiply(add(value, center), linear))
                    store(out, place, multiply(add(through, constant), one))
