"""What the kernels of a recurrent network are given: its tables and buffers.

A row is one number of each image of a tile. In each step of the recurrence, the rows that it reads lie one after another: the projected
features, then the units' outputs of the step before. Each unit has four sums: in an LSTM those of the input, forget, candidate and output
gate; in a GRU those of the reset and the update gate, and the candidate's over the features and over the units. A sum of no products is
constant, and has one vector instead of a row in each step. Units and features that do not matter to the outputs are left out. The results
are the features, the sums and the classes, in this order.
"""

from typing import NamedTuple

import numpy as np

from snip_cli.training.sparse.tables import Array

# The sums of a unit.
SUMS = 4

# A sum: its place in the first step, relative to its tile's sums, and the distances to its place in the next step and to its next vector;
# and where its gradient goes, which nothing reads if the sum is constant.
SUM = np.dtype([(name, np.int64) for name in ("place", "step", "lane", "slope")])

# What is computed of the images of a tile, as places in `RecurrentBuffers.memory`:
# pixels: by step and column, and one row of those that nothing reads. values: by step, the rows that the recurrence reads, and once more after the last.
# sums: the constant ones, a vector for gradients that nothing reads, and by step the rows, after their activations. In the backward pass
# their gradients replace them. first_row: where the rows begin.
# cells: of an LSTM, by step, from zero on. tanhs: by step, the last hyperbolic tangent: of an LSTM's cell, or a GRU's candidate.
# All tiles share these: slopes: the gradients of one step's values. carried: those of the units' states in the step before. biases: by sum,
# the gradient for each of 16 images.
TILE = np.dtype(
    [
        (name, np.int64)
        for name in ("pixels", "values", "sums", "first_row", "cells", "tanhs", "slopes", "carried", "biases")
    ]
)


class Sizes(NamedTuple):
    """How many there are of each; `read` are the features and units; `vectors` are those of a row.

    Attributes:
        rows: sums that have a row.
        stride: the distance between rows in numbers.
        biased: whether any bias is kept.
    """

    steps: int
    columns: int
    features: int
    units: int
    read: int
    rows: int
    classes: int
    vectors: int
    stride: int
    biased: bool


class RecurrentTables(NamedTuple):
    """What the kernels know of a recurrent network.

    Attributes:
        tiles: records of `TILE`. sums: records of `SUM`, by unit.
        offsets: for each entry of the features, the sums and the classes, the place of the row that it multiplies, int32.
        pointers: by row, its first entry, and where the last one's end, int32.
        results: by row, which result it is.
        scales: by result, which activation follows: see `gates.activate`; 0 for none.
        constants: by result, what is added that is no parameter.
        bias_results, bias_weights: for each kept bias, the result to which it is added, and its number among the weights.
        back_order: for each entry of the backward table, the number of the same weight.
        back_offsets, back_pointers: by row that the sums read, and then by unit that the classifier reads, as `offsets` and `pointers`.
    """

    sizes: Sizes
    tiles: Array
    sums: Array
    offsets: Array
    pointers: Array
    results: Array
    scales: Array
    constants: Array
    bias_results: Array
    bias_weights: Array
    back_order: Array
    back_offsets: Array
    back_pointers: Array


class RecurrentBuffers(NamedTuple):
    """What one training needs to compute.

    Attributes:
        weights: in the order of the entries, then the kept weights that do not matter to the outputs, and the kept biases.
        back_weights, back_gradients: the weights and their gradients in the order of the backward table.
        gradients: of the loss, in the order of the weights.
        first, second: what the optimizer remembers of each weight.
        kept: empty; see `chain.optimize`.
        starts: by result, what its sum starts from.
        memory: what is computed of the images; see `TILE`.
        outputs, slopes: by class, of the whole batch.
        labels, highest, exponentials: of the batch, for its loss.
    """

    weights: Array
    back_weights: Array
    back_gradients: Array
    gradients: Array
    first: Array
    second: Array
    kept: Array
    starts: Array
    memory: Array
    outputs: Array
    slopes: Array
    labels: Array
    highest: Array
    exponentials: Array
