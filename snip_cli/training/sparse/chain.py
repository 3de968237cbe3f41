"""From a network and its mask to the tables and buffers of the kernels, and back."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snip_cli.pruning.mask import Mask
from snip_cli.training.sparse.cache import kernels_compiled
from snip_cli.training.sparse.chain_layers import Step, pair
from snip_cli.training.sparse.images import Images, reading_of, squares_of
from snip_cli.training.sparse.kernels.chain import reorder, run_chain
from snip_cli.training.sparse.kernels.records import LAYER, Buffers, Reading, Tables
from snip_cli.training.sparse.kernels.vectors import WIDTH, lanes
from snip_cli.training.sparse.runs import Runs
from snip_cli.training.sparse.tables import Array, Plane, Table, Window, backward_table, forward_table


def aligned(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """Return zeros that begin with a cache line, so that no vector straddles two."""
    kind = np.dtype(dtype)
    count = prod(pair(shape)) if isinstance(shape, tuple) else shape
    raw = np.zeros(count * kind.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * kind.itemsize].view(kind).reshape(shape)


class ChainNetwork(Runs):
    """A pruned chain as tables and buffers, for batches of at most `batch` images of a shape C×H×W; see `trainer.SparseNetwork`.

    Attributes:
        tables: what the kernels know of the network.
        blocks: the numbers of vectors that occur in the runs, as types.
    """

    def __init__(self, steps: Sequence[Step], mask: Mask, shape: tuple[int, int, int], batch: int, dtype: Any) -> None:
        self.steps, self.mask, self.batch = steps, mask, batch
        self.width = -(-batch // WIDTH) * WIDTH
        self._convolutions = sum(type(step.layer) is nn.Conv2d for step in steps)
        self._layers = np.zeros(len(steps), LAYER)
        self._forward: list[Table] = []
        self._backward: list[Table] = []
        self._planes: list[tuple[Plane, Plane]] = []
        self._add_tables(shape)
        self._give_places(shape)
        self.tables = self._join()
        self._buffers = self._new_buffers(dtype)
        self.weights = self._buffers.weights
        first, second = self._buffers.first, self._buffers.second
        self.moments = {"momentum_buffer": first, "exp_avg": first, "exp_avg_sq": second}
        runs = np.concatenate([self.tables.runs, self.tables.back_runs])
        self.blocks = tuple(lanes(count) for count in sorted({*runs[:, 3].tolist()}))
        self._compile(shape, dtype)

    def _compile(self, shape: tuple[int, int, int], dtype: Any) -> None:
        with kernels_compiled():
            self.set_weights(self.weights)
            self.evaluate(Images.none(prod(shape), dtype))

    def _add_tables(self, shape: tuple[int, int, int]) -> None:
        """Make the tables of all layers; the first linear layer reads only the features that one of its kept weights uses."""
        plane = Plane(*shape[1:], WIDTH)
        for number, step in enumerate(self.steps):
            keep = self.mask[f"{step.name}.weight"].cpu().numpy()
            numbers = np.arange(keep.size).reshape(keep.shape)
            if number == self._convolutions:
                self._read = read = np.flatnonzero(keep.any(axis=0))
                keep, numbers, plane = keep[:, read], numbers[:, read], Plane(1, 1, self.width)
            if keep.ndim == 2:
                keep, numbers = keep[:, :, None, None], numbers[:, :, None, None]
            window = Window.of(step.layer)
            self._forward.append(forward_table(keep, numbers, window, plane))
            self._backward.append(backward_table(keep, numbers, window, plane))
            self._planes.append((plane, window.over(plane)))
            plane = self._planes[-1][1] if step.pool is None else Window.of(step.pool).over(self._planes[-1][1])

    def _give_places(self, shape: tuple[int, int, int]) -> None:
        """Complete the records of the layers, and count how many numbers the values of a tile and of a batch take."""
        self._tile = shape[0] * self._planes[0][0].stride if self._convolutions else 0
        self._choices = self._size = given = 0
        for number, (step, layer, (plane, found)) in enumerate(
            zip(self.steps, self._layers, self._planes, strict=True)
        ):
            keep = self.mask[f"{step.name}.weight"]
            linear = number >= self._convolutions
            if number == self._convolutions:
                inputs = len(self._read)
                # One more row takes the pixels that nothing reads.
                given, self._size = 0, (inputs + 1) * plane.stride
            else:
                inputs = keep.shape[1]
            layer["rows"], layer["inputs"], layer["taps"] = keep.shape[0], inputs, prod(keep.shape[2:])
            layer["given"], layer["given_stride"], layer["relu"] = given, plane.stride, step.relu
            if step.pool:
                self._add_pool(layer, Window.of(step.pool), found)
                found = Window.of(step.pool).over(found)
            given = self._size if linear else self._tile
            layer["found"], layer["found_stride"] = given, found.stride
            if linear:
                self._size += len(keep) * found.stride
            else:
                self._tile += len(keep) * found.stride
        # The planes of convolutions before their pooling are in the slopes alone.
        self._scratch = self._tile
        for layer in self._layers:
            if layer["pools"]:
                layer["plane"] = self._scratch
                self._scratch += layer["rows"] * layer["plane_stride"]
        if not self._convolutions:
            self._reading, self._columns = reading_of(self._read, prod(shape), self._planes[0][0].stride), np.arange(0)
            return
        every = np.arange(prod(shape))
        self._reading = Reading(squares_of(every, len(every)), self._in_planes(every, self._planes[0][0]))
        plane = self._planes[self._convolutions - 1][1]
        if pooling := self.steps[self._convolutions - 1].pool:
            plane = Window.of(pooling).over(plane)
        self._columns = self._in_planes(self._read, plane)

    @staticmethod
    def _in_planes(pixels: Array, plane: Plane) -> Array:
        """Return the places of pixels of a tile, numbered channel by channel."""
        channel, pixel = np.divmod(pixels, plane.pixels)
        return channel * plane.stride + pixel * WIDTH

    def _add_pool(self, layer: Any, window: Window, plane: Plane) -> None:
        found = window.over(plane)
        layer["pools"], layer["plane_stride"], layer["columns"] = 1, plane.stride, plane.columns
        layer["pool_y"], layer["pool_x"] = window.size
        layer["pool_step_y"], layer["pool_step_x"] = window.stride
        layer["pool_rows"], layer["pool_columns"] = found.height, found.columns
        layer["choices"] = self._choices
        self._choices += layer["rows"] * found.stride

    def _join(self) -> Tables:
        """Return the tables of all layers one after another, with where each begins in the records."""
        entry = pointer = run = back_entry = back_pointer = back_run = 0
        back_order = []
        biases = sum(len(table.order) for table in self._forward)
        for layer, ahead, back in zip(self._layers, self._forward, self._backward, strict=True):
            layer["entry"], layer["pointer"], layer["run"] = entry, pointer, run
            layer["back_entry"], layer["back_pointer"], layer["back_run"] = back_entry, back_pointer, back_run
            layer["bias"] = biases
            place = np.zeros(ahead.order.max(initial=-1) + 1, np.int64)
            place[ahead.order] = np.arange(len(ahead.order))
            back_order.append(entry + place[back.order])
            entry, pointer, run = entry + len(ahead.order), pointer + len(ahead.pointers), run + len(ahead.runs)
            back_entry, back_pointer = back_entry + len(back.order), back_pointer + len(back.pointers)
            back_run += len(back.runs)
            biases += layer["rows"]
            layer["entry_end"], layer["run_end"], layer["back_run_end"] = entry, run, back_run
        return Tables(
            layers=self._layers,
            convolutions=self._convolutions,
            offsets=joined(self._forward, "offsets"),
            pointers=joined(self._forward, "pointers"),
            runs=joined(self._forward, "runs"),
            back_order=np.concatenate(back_order).astype(np.int32),
            back_offsets=joined(self._backward, "offsets"),
            back_pointers=joined(self._backward, "pointers"),
            back_runs=joined(self._backward, "runs"),
            columns=self._columns,
        )

    def _new_buffers(self, dtype: Any) -> Buffers:
        """Return zeroed buffers for values of a type."""
        entries, biases = len(self.tables.offsets), sum(int(layer["rows"]) for layer in self._layers)
        convolved = int(self._layers[self._convolutions - 1]["entry_end"]) if self._convolutions else 0
        tiles = self.width // WIDTH if self._convolutions else 0
        weights = entries + biases
        kept = [self.mask[f"{step.name}.bias"].cpu().numpy() for step in self.steps]
        return Buffers(
            weights=aligned(weights, dtype),
            back_weights=aligned(len(self.tables.back_order), dtype),
            gradients=aligned(weights, dtype),
            sums=aligned(convolved * WIDTH, dtype),
            first=aligned(weights, dtype),
            second=aligned(weights, dtype),
            kept=np.concatenate(kept).astype(dtype),
            tiles=aligned((tiles, self._tile), dtype),
            choices=aligned((tiles, self._choices), np.int8),
            tile_slopes=aligned(self._scratch, dtype),
            values=aligned(self._size, dtype),
            slopes=aligned(self._size, dtype),
            labels=np.zeros(self.width, np.int64),
            highest=aligned(self.width, dtype),
            exponentials=aligned(self.width, dtype),
        )

    def set_weights(self, taken: Array) -> None:
        """Set the weights to what `take` returned."""
        self.weights[:] = taken
        reorder(self.tables, self._buffers)

    def _run(self, *given: Any) -> None:
        tiles = self._buffers.tiles if self._convolutions else None
        run_chain(self.tables, self._buffers, *given, self._reading, tiles, self.blocks)

    def take(self, named: Mapping[str, Tensor]) -> Array:
        """Return the kept entries of the tensors of all parameters, in the order of `Buffers.weights`; 0 for pruned biases."""
        weights = [
            named[f"{step.name}.weight"].detach().cpu().numpy().ravel()[table.order]
            for step, table in zip(self.steps, self._forward, strict=True)
        ]
        biases = np.concatenate([named[f"{step.name}.bias"].detach().cpu().numpy() for step in self.steps])
        return np.concatenate([*weights, biases * self._buffers.kept])

    def put(self, taken: Array) -> dict[str, Tensor]:
        """Return the tensors of all parameters from what `take` returned; pruned entries are 0."""
        named: dict[str, Tensor] = {}
        for step, table, layer in zip(self.steps, self._forward, self._layers, strict=True):
            shape = self.mask[f"{step.name}.weight"].shape
            full = np.zeros(prod(shape), taken.dtype)
            full[table.order] = taken[layer["entry"] : layer["entry_end"]]
            named[f"{step.name}.weight"] = torch.from_numpy(full).view(shape)
            bias = taken[layer["bias"] : layer["bias"] + layer["rows"]]
            named[f"{step.name}.bias"] = torch.from_numpy(bias.copy())
        return named


def joined(tables: Sequence[Table], name: str) -> Array:
    """Return one part of several tables, one after another."""
    return np.concatenate([getattr(table, name) for table in tables])
