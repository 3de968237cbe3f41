"""What the kernels of a chain are given: its layers, tables and buffers, and the optimizer."""

from typing import NamedTuple

import numpy as np

from snip_cli.training.sparse.tables import Array

# What the kernels know of a layer. Numbers of entries, pointers and runs count from the start of the arrays of `Tables`, places from the
# start of a tile's or the batch's values.
LAYER = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("rows", "inputs", "taps", "entry", "entry_end", "bias", "pointer", "run", "run_end"),
            *("back_entry", "back_entry_end", "back_pointer", "back_run", "back_run_end"),
            *("given", "given_stride", "found", "found_stride", "relu"),
            # Of a convolution with max-pooling: its own plane, before the pooling, and the pooling.
            *("pools", "plane", "plane_stride", "columns", "choices"),
            *("pool_y", "pool_x", "pool_step_y", "pool_step_x", "pool_rows", "pool_columns"),
        )
    ]
)


class Tables(NamedTuple):
    """The tables of all layers, one after another; see `tables.Table`. Convolutions come first.

    Attributes:
        layers: records of `LAYER`.
        convolutions: how many of them are convolutions.
        back_order: for each entry of a backward table, the number of the same weight's entry in the forward table.
        columns: behind convolutions, what the first linear layer reads: places in the outputs of the last one.
    """

    layers: Array
    convolutions: int
    offsets: Array
    pointers: Array
    runs: Array
    back_order: Array
    back_offsets: Array
    back_pointers: Array
    back_runs: Array
    columns: Array


class Reading(NamedTuple):
    """How a network reads images. It is no part of `Tables`: with two more arrays there, every call of a kernel took 0.5 us longer.

    Attributes:
        squares: the first of each 16 neighbouring pixels that are read.
        places: by pixel, where its values go.
    """

    squares: Array
    places: Array


class Buffers(NamedTuple):
    """What one training needs to compute.

    Attributes:
        weights: the kept weights of all layers in the order of the tables' entries, then the biases of all layers.
        back_weights: the weights in the order of the backward tables.
        gradients: of the loss, in the order of the weights.
        sums: for each entry of a convolution, its gradient for each of 16 images.
        first, second: what the optimizer remembers of each weight.
        kept: 1 for each bias that is kept, 0 for one that is pruned.
        tiles: the values of the convolutions of each tile; choices: of their poolings.
        tile_slopes: the gradients of the values of one tile.
        values, slopes: of the linear layers, for the whole batch.
        labels, highest, exponentials: of the batch, for its loss.
    """

    weights: Array
    back_weights: Array
    gradients: Array
    sums: Array
    first: Array
    second: Array
    kept: Array
    tiles: Array
    choices: Array
    tile_slopes: Array
    values: Array
    slopes: Array
    labels: Array
    highest: Array
    exponentials: Array


class Settings(NamedTuple):
    """The optimizer: Adam, or SGD with momentum and perhaps Nesterov; `decay` is the weight decay."""

    adam: bool
    momentum: float
    nesterov: bool
    decay: float
