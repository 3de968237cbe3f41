"""From a recurrent network and its mask to the tables and buffers of the kernels, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from snip_cli.models.recurrent import RowByRow
from snip_cli.pruning.mask import Mask
from snip_cli.training.sparse.cache import kernels_compiled
from snip_cli.training.sparse.chain import aligned
from snip_cli.training.sparse.images import Images, reading_of
from snip_cli.training.sparse.kernels.cells import GRU, LSTM
from snip_cli.training.sparse.kernels.recurrent import run_recurrent
from snip_cli.training.sparse.kernels.recurrent_records import SUMS, TILE, RecurrentBuffers, RecurrentTables, Sizes
from snip_cli.training.sparse.kernels.vectors import MOST, WIDTH, lanes
from snip_cli.training.sparse.recurrent_tables import Layout
from snip_cli.training.sparse.runs import Runs
from snip_cli.training.sparse.tables import Array

# Vectors of a tile at most: the backward pass holds two rows of a tile in registers, and reads a third.
LARGEST_TILE = MOST * 7 // 12


class RecurrentNetwork(Runs):
    """A pruned recurrent network as tables and buffers, for at most `batch` images of a shape C×H×W; see `trainer.SparseNetwork`."""

    def __init__(self, model: RowByRow, mask: Mask, shape: tuple[int, int, int], batch: int, dtype: Any) -> None:
        self.batch, self._layout = batch, Layout(mask, model)
        self._cell = LSTM if isinstance(model.recurrent, nn.LSTM) else GRU
        vectors = -(-batch // WIDTH)
        self._tiles = -(-vectors // LARGEST_TILE)
        self._block = lanes(-(-vectors // self._tiles))
        self.width = self._tiles * len(self._block) * WIDTH
        self.tables = self._new_tables(shape, model.gate_bias.cpu().numpy())
        self._buffers = self._new_buffers(dtype)
        self.weights = self._buffers.weights
        first, second = self._buffers.first, self._buffers.second
        self.moments = {"momentum_buffer": first, "exp_avg": first, "exp_avg_sq": second}
        with kernels_compiled():
            self.evaluate(Images.none(shape[1] * shape[2], dtype))

    def _new_tables(self, shape: tuple[int, int, int], added: Array) -> RecurrentTables:
        """Return the tables; `added` is the constant that is added to each gate of each unit of the model."""
        layout, steps = self._layout, shape[1]
        # An odd number of vectors; see `tables.Plane`.
        stride = (len(self._block) | 1) * WIDTH
        ahead = layout.projection.and_then(layout.sums).and_then(layout.classifier)
        back = layout.back_sums.and_then(layout.back_classifier)
        of_sums, of_classes = layout.back_sums.columns * stride, layout.back_classifier.columns * self.width
        pixels = (np.arange(steps)[:, None] * shape[2] + layout.pixels).ravel()
        self._reading = reading_of(pixels, shape[1] * shape[2], stride)
        features, sums, classes = len(layout.features), len(layout.units) * SUMS, len(layout.classifier.pointers) - 1
        results = (np.arange(features), features + layout.rows, features + sums + np.arange(classes))
        sizes = Sizes(
            steps=steps,
            columns=len(layout.pixels),
            features=features,
            units=len(layout.units),
            read=features + len(layout.units),
            rows=len(layout.rows),
            classes=classes,
            vectors=len(self._block),
            stride=stride,
            biased=len(layout.biases) > 0,
        )
        return RecurrentTables(
            sizes=sizes,
            tiles=self._new_tiles(sizes),
            sums=layout.sum_records(stride),
            offsets=(ahead.columns * stride).astype(np.int32),
            pointers=ahead.pointers.astype(np.uint32),
            results=np.concatenate(results),
            scales=layout.scales(),
            constants=layout.constants(added),
            bias_results=layout.biases[:, 0].copy(),
            bias_weights=layout.places[layout.biases[:, 1]],
            back_order=layout.places[back.numbers].astype(np.int32),
            back_offsets=np.concatenate([of_sums, of_classes]).astype(np.int32),
            back_pointers=back.pointers.astype(np.uint32),
        )

    def _new_tiles(self, sizes: Sizes) -> Array:
        """Return the records `TILE`: first what all tiles share, then one tile after another."""
        row, constants = sizes.stride, (sizes.units * SUMS + 1) * WIDTH
        shared = {"slopes": sizes.read * row, "carried": sizes.units * row, "biases": sizes.units * SUMS * WIDTH}
        own = {
            "pixels": (sizes.steps * sizes.columns + 1) * row,
            "values": (sizes.steps + 1) * sizes.read * row,
            "sums": constants,
            "first_row": sizes.steps * sizes.rows * row,
            "cells": (sizes.steps + 1) * sizes.units * row if self._cell is LSTM else 0,
            "tanhs": sizes.steps * sizes.units * row,
        }
        tiles, self._memory = np.zeros(self._tiles, TILE), 0
        for some, parts in ((tiles, shared), *((tiles[number : number + 1], own) for number in range(self._tiles))):
            for name, size in parts.items():
                some[name], self._memory = self._memory, self._memory + size
        return tiles

    def _new_buffers(self, dtype: Any) -> RecurrentBuffers:
        """Return zeroed buffers for values of a type."""
        tables, weights = self.tables, len(self._layout.order)
        return RecurrentBuffers(
            weights=aligned(weights, dtype),
            back_weights=aligned(len(tables.back_order), dtype),
            back_gradients=aligned(len(tables.back_order), dtype),
            gradients=aligned(weights, dtype),
            first=aligned(weights, dtype),
            second=aligned(weights, dtype),
            kept=np.zeros(0, dtype),
            starts=aligned(len(tables.constants), dtype),
            memory=aligned(self._memory, dtype),
            outputs=aligned(tables.sizes.classes * self.width, dtype),
            slopes=aligned(tables.sizes.classes * self.width, dtype),
            labels=np.zeros(self.width, np.int64),
            highest=aligned(self.width, dtype),
            exponentials=aligned(self.width, dtype),
        )

    def set_weights(self, taken: Array) -> None:
        """Set the weights to what `take` returned."""
        self.weights[:] = taken

    def _run(self, *given: Any) -> None:
        run_recurrent(self.tables, self._buffers, *given, self._reading, self._cell, self._block)

    def take(self, named: Mapping[str, Tensor]) -> Array:
        """Return the kept entries of the tensors of all parameters, in the order of `weights`."""
        return self._layout.take(named)

    def put(self, taken: Array) -> dict[str, Tensor]:
        """Return the tensors of all parameters from what `take` returned; pruned entries are 0."""
        return self._layout.put(taken)
