"""Tables of a layer's kept weights, as the kernels of `products` read them.

Values of a tile lie channel by channel (a plane each), pixel by pixel, image by image, with `width` images innermost; places are counted in
numbers. Taps are numbered column by column, tap = kx · K_y + ky, so that the taps of a column that meet an image row are contiguous.

O: output channels, C: input channels, K: rows (y) or columns (x) of a kernel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import nn

from snip_cli.training.sparse.chain_layers import pair
from snip_cli.training.sparse.kernels.vectors import MOST, WIDTH

Array = np.ndarray
# A tap, its place relative to the first tap's, and which pixels it joins: (place of the output, place of the input, how many pixels).
Segment = tuple[int, int, int]


@dataclass(frozen=True)
class Plane:
    """Height and width of a channel in pixels, and the images of a tile.

    `stride` is the distance between planes in numbers. It is an odd number of vectors, because planes at a multiple of 4,096 bytes would
    compete for the same few lines of the first cache.
    """

    height: int
    columns: int
    width: int

    @property
    def pixels(self) -> int:
        return self.height * self.columns

    @property
    def stride(self) -> int:
        return (self.pixels * self.width // WIDTH | 1) * WIDTH


@dataclass(frozen=True)
class Window:
    """Size, stride and padding of a convolution's or pooling's window, each (y, x)."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(cls, layer: nn.Module) -> "Window":
        """Return the window of a layer; that of a linear layer is one pixel."""
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            assert not isinstance(layer.padding, str)
            return cls(pair(layer.kernel_size), pair(layer.stride), pair(layer.padding))
        return cls((1, 1), (1, 1), (0, 0))

    def over(self, plane: Plane) -> Plane:
        """Return the plane of the outputs."""
        height, columns = (
            (side + 2 * padding - size) // stride + 1
            for side, size, stride, padding in zip(
                (plane.height, plane.columns), self.size, self.stride, self.padding, strict=True
            )
        )
        return Plane(height, columns, plane.width)


@dataclass(frozen=True)
class Table:
    """The entries of a layer in one direction, sorted by output, then by tap, then by input.

    Attributes:
        order: for each entry, its weight's number in the flattened parameter.
        offsets: for each entry, the place of its input plane and tap relative to a run's place, int32.
        pointers: by output and tap, the number of its first entry; for output o and tap t at o · (taps + 1) + t, int32.
        runs: rows (fresh, place in the output's plane, place in an input plane, vectors, first tap, end of the taps), int32.
    """

    order: Array
    offsets: Array
    pointers: Array
    runs: Array


def forward_table(keep_OCKK: Array, numbers_OCKK: Array, window: Window, given: Plane) -> Table:
    """Return the table that maps the values of a layer's inputs to its outputs; `numbers` are those of the weights."""
    found = window.over(given)
    places = [kx + ky * given.columns for kx in range(window.size[1]) for ky in range(window.size[0])]
    runs = [
        run
        for y in range(found.height)
        for run in row_of_runs(list(forward_segments(y, window, given, found)), places, y * found.columns, found)
    ]
    return table(keep_OCKK.transpose(0, 3, 2, 1), numbers_OCKK.transpose(0, 3, 2, 1), places, given, runs)


def backward_table(keep_OCKK: Array, numbers_OCKK: Array, window: Window, given: Plane) -> Table:
    """Return the table that maps the gradients of a layer's outputs to those of its inputs."""
    found = window.over(given)
    places = [-kx - ky * found.columns for kx in range(window.size[1]) for ky in range(window.size[0])]
    runs = [
        run
        for y in range(given.height)
        for run in row_of_runs(list(backward_segments(y, window, given, found)), places, y * given.columns, given)
    ]
    return table(keep_OCKK.transpose(1, 3, 2, 0), numbers_OCKK.transpose(1, 3, 2, 0), places, found, runs)


def forward_segments(y: int, window: Window, given: Plane, found: Plane) -> Iterator[list[Segment]]:
    """Yield for each tap the segments of an output row that it reaches."""
    for kx in range(window.size[1]):
        for ky in range(window.size[0]):
            row = y * window.stride[0] + ky - window.padding[0]
            pairs = [(x, x * window.stride[1] + kx - window.padding[1]) for x in range(found.columns)]
            inside = [(x, of) for x, of in pairs if 0 <= of < given.columns and 0 <= row < given.height]
            yield segments(inside, y * found.columns, row * given.columns)


def backward_segments(y: int, window: Window, given: Plane, found: Plane) -> Iterator[list[Segment]]:
    """Yield for each tap the segments of an input row that it reaches."""
    for kx in range(window.size[1]):
        for ky in range(window.size[0]):
            row, between = divmod(y + window.padding[0] - ky, window.stride[0])
            pairs = [(x, *divmod(x + window.padding[1] - kx, window.stride[1])) for x in range(given.columns)]
            inside = [
                (x, of)
                for x, of, rest in pairs
                if rest == 0 and 0 <= of < found.columns and between == 0 and 0 <= row < found.height
            ]
            yield segments(inside, y * given.columns, row * found.columns)


def segments(pairs: list[tuple[int, int]], to_row: int, of_row: int) -> list[Segment]:
    """Join neighbouring pixels that read neighbouring pixels; returns places in the two planes, in pixels."""
    found: list[Segment] = []
    for to, of in pairs:
        if found and (to_row + to, of_row + of) == (found[-1][0] + found[-1][2], found[-1][1] + found[-1][2]):
            found[-1] = (*found[-1][:2], found[-1][2] + 1)
        else:
            found.append((to_row + to, of_row + of, 1))
    return found


def row_of_runs(by_tap: list[list[Segment]], places: list[int], start: int, plane: Plane) -> list[tuple[int, ...]]:
    """Return the runs of one row of outputs, which begins at pixel `start`, in pixels: (fresh, to, of, pixels, first tap, end).

    Neighbouring taps that join the same pixels in the same way share a run.
    """
    joined: list[tuple[int, int, int, int, int]] = []
    for tap, found in enumerate(by_tap):
        for to, of, count in found:
            same = [i for i, run in enumerate(joined) if run[:3] == (to, of - places[tap], count) and run[4] == tap]
            if same:
                joined[same[0]] = (*joined[same[0]][:4], tap + 1)
            else:
                joined.append((to, of - places[tap], count, tap, tap + 1))
    # The first run of a row sets it, and the others add to it.
    whole = [run for run in joined if run[:1] + run[2:3] == (start, plane.columns)][:1]
    others = [run for run in joined if run not in whole]
    return [(1, *(whole[0] if whole else (start, 0, plane.columns, 0, 0))), *((0, *run) for run in others)]


def table(keep_RTTI: Array, numbers_RTTI: Array, places: list[int], read: Plane, runs: list[tuple[int, ...]]) -> Table:
    """Return the table of weights in the order output, tap (x, y), input; `places` of the taps and `runs` are in pixels."""
    rows, *_, inputs = keep_RTTI.shape  # a layer that keeps nothing has no rows
    taps = len(places)
    keep_RTI = keep_RTTI.reshape(rows, taps, inputs)
    _, tap, channel = keep_RTI.nonzero()
    counts_RT = keep_RTI.sum(axis=2)
    ends = counts_RT.cumsum().reshape(rows, taps)
    pointers = np.concatenate([(ends[:, :1] - counts_RT[:, :1]), ends], axis=1)
    return Table(
        order=numbers_RTTI.reshape(rows, taps, inputs)[keep_RTI],
        offsets=(channel * read.stride + np.array(places)[tap] * read.width).astype(np.int32),
        pointers=pointers.astype(np.int32).ravel(),
        runs=np.array([piece for run in runs for piece in pieces(run, read.width)], np.int32).reshape(-1, 6),
    )


def pieces(run: tuple[int, ...], width: int) -> Iterator[tuple[int, ...]]:
    """Yield a run that is given in pixels as runs of at most `MOST` vectors, all about equally long, in numbers."""
    fresh, to, of, pixels, first, end = run
    vectors = pixels * width // WIDTH
    at = 0
    for left in range(-(-vectors // MOST), 0, -1):
        count = -(-(vectors - at) // left)
        yield fresh, to * width + at * WIDTH, of * width + at * WIDTH, count, first, end
        at += count
