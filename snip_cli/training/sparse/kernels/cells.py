"""One step of an LSTM or GRU, and its gradient, on vectors of 16 images. The sums are in place; see `recurrent_records`.

No inlined function takes an array here, because numba would count the references to it in each call.
"""

from numba import njit
from numba.extending import overload

from snip_cli.training.sparse.kernels.gates import activate, subtract
from snip_cli.training.sparse.kernels.products import INNER, ONE, OPTIONS
from snip_cli.training.sparse.kernels.recurrent_records import SUMS
from snip_cli.training.sparse.kernels.vectors import WIDTH, add, lanes, load, multiply, store

# What tells a kernel, by its type, which cell it computes.
LSTM, GRU = lanes(4), lanes(3)


@njit(inline="always", **INNER)
def place_of(here, tile, step, lane):
    """Return the place of one vector of a sum."""
    return tile.sums + here.place + step * here.step + lane * here.lane


@njit(inline="always", **INNER)
def slope_of(here, tile, step, lane):
    """Return the place of one vector of a sum's gradient."""
    return tile.sums + here.slope + step * here.step + lane * here.lane


@njit(inline="always", **INNER)
def of_logistic(slope, value):
    """Return the gradient of a logistic function's argument, from that of its value."""
    return multiply(slope, subtract(value, multiply(value, value)))


@njit(inline="always", **INNER)
def of_tanh(slope, value):
    """Return the gradient of a hyperbolic tangent's argument, from that of its value."""
    return subtract(slope, multiply(slope, multiply(value, value)))


@njit(**INNER)
def add_to(memory, at, block):
    """Add a vector to the one from `at` on."""
    store(memory, at, add(load(memory, at, ONE), block))


@njit(**INNER)
def lstm_forward(memory, sums, tile, sizes, step):
    """Compute a step of all units; see `cells_forward`."""
    for unit in range(sizes.units):
        first, here = unit * SUMS, (step * sizes.units + unit) * sizes.stride
        after = tile.cells + here + sizes.units * sizes.stride
        output = tile.values + ((step + 1) * sizes.read + sizes.features + unit) * sizes.stride
        for lane in range(sizes.vectors):
            at = lane * WIDTH
            write = load(memory, place_of(sums[first], tile, step, lane), ONE)
            forget = load(memory, place_of(sums[first + 1], tile, step, lane), ONE)
            candidate = load(memory, place_of(sums[first + 2], tile, step, lane), ONE)
            read = load(memory, place_of(sums[first + 3], tile, step, lane), ONE)
            before = load(memory, tile.cells + here + at, ONE)
            cell = add(multiply(forget, before), multiply(write, candidate))
            tanh = activate(cell, 2.0)
            store(memory, after + at, cell)
            store(memory, tile.tanhs + here + at, tanh)
            store(memory, output + at, multiply(read, tanh))


@njit(**INNER)
def lstm_backward(memory, sums, tile, sizes, step):
    """Compute the gradients of a step of all units; see `cells_backward`."""
    for unit in range(sizes.units):
        first, here = unit * SUMS, (step * sizes.units + unit) * sizes.stride
        given, carried = tile.slopes + (sizes.features + unit) * sizes.stride, tile.carried + unit * sizes.stride
        for lane in range(sizes.vectors):
            at = lane * WIDTH
            write = load(memory, place_of(sums[first], tile, step, lane), ONE)
            forget = load(memory, place_of(sums[first + 1], tile, step, lane), ONE)
            candidate = load(memory, place_of(sums[first + 2], tile, step, lane), ONE)
            read = load(memory, place_of(sums[first + 3], tile, step, lane), ONE)
            slope, tanh = load(memory, given + at, ONE), load(memory, tile.tanhs + here + at, ONE)
            before = load(memory, tile.cells + here + at, ONE)
            cell = add(load(memory, carried + at, ONE), of_tanh(multiply(slope, read), tanh))
            store(memory, carried + at, multiply(cell, forget))
            of_write = of_logistic(multiply(cell, candidate), write)
            store(memory, slope_of(sums[first], tile, step, lane), of_write)
            of_forget = of_logistic(multiply(cell, before), forget)
            store(memory, slope_of(sums[first + 1], tile, step, lane), of_forget)
            of_candidate = of_tanh(multiply(cell, write), candidate)
            store(memory, slope_of(sums[first + 2], tile, step, lane), of_candidate)
            of_read = of_logistic(multiply(slope, tanh), read)
            store(memory, slope_of(sums[first + 3], tile, step, lane), of_read)
            if sizes.biased:
                to = tile.biases + first * WIDTH
                add_to(memory, to, of_write)
                add_to(memory, to + WIDTH, of_forget)
                add_to(memory, to + 2 * WIDTH, of_candidate)
                add_to(memory, to + 3 * WIDTH, of_read)


@njit(**INNER)
def gru_forward(memory, sums, tile, sizes, step):
    """Compute a step of all units; see `cells_forward`."""
    for unit in range(sizes.units):
        first, here = unit * SUMS, (step * sizes.units + unit) * sizes.stride
        given = tile.values + (step * sizes.read + sizes.features + unit) * sizes.stride
        after = given + sizes.read * sizes.stride
        for lane in range(sizes.vectors):
            at = lane * WIDTH
            reset = load(memory, place_of(sums[first], tile, step, lane), ONE)
            update = load(memory, place_of(sums[first + 1], tile, step, lane), ONE)
            of_features = load(memory, place_of(sums[first + 2], tile, step, lane), ONE)
            of_units = load(memory, place_of(sums[first + 3], tile, step, lane), ONE)
            candidate = activate(add(of_features, multiply(reset, of_units)), 2.0)
            difference = subtract(load(memory, given + at, ONE), candidate)
            store(memory, tile.tanhs + here + at, candidate)
            store(memory, after + at, add(candidate, multiply(update, difference)))


@njit(**INNER)
def gru_backward(memory, sums, tile, sizes, step):
    """Compute the gradients of a step of all units; see `cells_backward`."""
    for unit in range(sizes.units):
        first, here = unit * SUMS, (step * sizes.units + unit) * sizes.stride
        given, carried = tile.slopes + (sizes.features + unit) * sizes.stride, tile.carried + unit * sizes.stride
        before = tile.values + (step * sizes.read + sizes.features + unit) * sizes.stride
        for lane in range(sizes.vectors):
            at = lane * WIDTH
            reset = load(memory, place_of(sums[first], tile, step, lane), ONE)
            update = load(memory, place_of(sums[first + 1], tile, step, lane), ONE)
            of_units = load(memory, place_of(sums[first + 3], tile, step, lane), ONE)
            candidate = load(memory, tile.tanhs + here + at, ONE)
            slope = add(load(memory, given + at, ONE), load(memory, carried + at, ONE))
            passed = multiply(slope, update)
            store(memory, carried + at, passed)
            difference = subtract(load(memory, before + at, ONE), candidate)
            of_candidate = of_tanh(subtract(slope, passed), candidate)
            of_reset = of_logistic(multiply(of_candidate, of_units), reset)
            store(memory, slope_of(sums[first], tile, step, lane), of_reset)
            of_update = of_logistic(multiply(slope, difference), update)
            store(memory, slope_of(sums[first + 1], tile, step, lane), of_update)
            store(memory, slope_of(sums[first + 2], tile, step, lane), of_candidate)
            of_product = multiply(of_candidate, reset)
            store(memory, slope_of(sums[first + 3], tile, step, lane), of_product)
            if sizes.biased:
                to = tile.biases + first * WIDTH
                add_to(memory, to, of_reset)
                add_to(memory, to + WIDTH, of_update)
                add_to(memory, to + 2 * WIDTH, of_candidate)
                add_to(memory, to + 3 * WIDTH, of_product)


def cells_forward(cell, memory, sums, tile, sizes, step):
    """Compute the states and outputs of all units after a step of the cell `LSTM` or `GRU`."""


@overload(cells_forward, jit_options=OPTIONS, inline="always")
def forward_of(cell, memory, sums, tile, sizes, step):
    if len(cell) == len(LSTM):
        return lambda cell, memory, sums, tile, sizes, step: lstm_forward(memory, sums, tile, sizes, step)
    return lambda cell, memory, sums, tile, sizes, step: gru_forward(memory, sums, tile, sizes, step)


def cells_backward(cell, memory, sums, tile, sizes, step):
    """Replace the sums of a step by their gradients, and `TILE.carried` by the gradients of the states before the step."""


@overload(cells_backward, jit_options=OPTIONS, inline="always")
def backward_of(cell, memory, sums, tile, sizes, step):
    if len(cell) == len(LSTM):
        return lambda cell, memory, sums, tile, sizes, step: lstm_backward(memory, sums, tile, sizes, step)
    return lambda cell, memory, sums, tile, sizes, step: gru_backward(memory, sums, tile, sizes, step)
