"""Pictures of what pruning keeps of the first layer, as in Figure 2 of Lee et al. (2019).

Shapes: an image has H×W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from snip_cli.errors import ConfigError
from snip_cli.report.captions import common_and_own, extent, label, shown, without
from snip_cli.report.cells import Cell
from snip_cli.report.figures.drawing import Drawing
from snip_cli.report.records import Row, Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Each combination of these settings is a block; blocks stand side by side. Any other setting distinguishes the columns of a block.
BLOCK = ("method", "model", "dataset")


@dataclass(frozen=True)
class Picture:
    """How many weights of the first layer each pixel keeps, kept_HW, in the first seed of a cell."""

    cell: Cell
    seed: int
    kept_HW: numpy.ndarray

    @property
    def row(self) -> Row:
        """The picture's row of the CSV: how many weights the first layer keeps, on how many pixels, and at most on one pixel."""
        kept, on, most = int(self.kept_HW.sum()), numpy.count_nonzero(self.kept_HW), int(self.kept_HW.max())
        return {**self.cell.key, "seed": self.seed, "weights_kept": kept, "pixels_kept": on, "most_on_a_pixel": most}


def pixels(picture_HW: numpy.ndarray, **names: Any) -> list[Row]:
    """Return a row per pixel for a CSV, each with the picture's `names`; y counts from the top and x from the left, from 0."""
    return [{**names, "y": y, "x": x, "value": value.item()} for (y, x), value in numpy.ndenumerate(picture_HW)]


def pictures_of(cells: Sequence[Cell]) -> list[Picture]:
    """Return the pictures of all pruned cells that have one. Raises ConfigError where none has."""
    # These import torch and TensorBoard, which a table does not need.
    from snip_cli.runfolder.checkpoint import load_masks
    from snip_cli.runfolder.events import first_layer

    made, others = [], []
    for cell in cells:
        masks = {seed: mask for folder in reversed(cell.folders) for seed, mask in load_masks(folder).items()}
        if cell.settings["method"] == "reference" or not masks:
            continue
        seed = min(masks)
        in_numpy = {name: keep.numpy() for name, keep in masks[seed].items()}
        kept_HW = first_layer(in_numpy, cell.settings["dataset.shape"])
        if kept_HW is None:
            others.append(cell.settings["model"])
        else:
            made.append(Picture(cell, seed, kept_HW))
    if not made and others:
        raise ConfigError(
            f"The first layer of {others[0]} is not linear on the pixels, so there is no picture of it: choose model=lenet_300_100."
        )
    if not made:
        raise ConfigError(
            "There is nothing to draw: no pruned run has a mask.pt, and a record without tensors has none. Name folders as snip-run wrote them."
        )
    return made


def draw_masks(cells: Sequence[Cell]) -> Drawing:
    """Draw how many weights of the first layer each pixel keeps, a picture per run (its first seed), scaled to its own maximum.

    There is a row per sparsity, a block per method, model and data set, and a column in it for each value of any other setting that
    differs. Raises ConfigError where no run has such a layer.
    """
    from matplotlib.figure import Figure

    pictures = pictures_of(cells)
    sparsities = sorted({picture.cell.sparsity for picture in pictures})
    blocks: dict[tuple[Any, ...], dict[str, list[Picture]]] = {}
    for picture in pictures:
        columns = blocks.setdefault(tuple(picture.cell.settings[name] for name in BLOCK), {})
        columns.setdefault(repr(without(picture.cell.key, "sparsity")), []).append(picture)
    common, titles = common_and_own([dict(zip(BLOCK, block, strict=True)) for block in blocks])
    widths = [len(columns) for columns in blocks.values()]
    size = (max(0.65 * sum(widths) + 1.2, 5.0), 0.65 * len(sparsities) + 1.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(blocks), squeeze=False, width_ratios=widths)[0]
    for ax, columns, title in zip(axes, blocks.values(), titles, strict=True):
        draw_block(ax, list(columns.values()), sparsities)
        ax.set_title(title)
    axes[0].set_ylabel("sparsity (%)")
    n = extent([picture.cell for picture in pictures])
    seeds = ", ".join(map(str, sorted({picture.seed for picture in pictures})))
    figure.suptitle(f"weights kept per pixel: {common}, seed {seeds} ({n})", fontsize="medium", wrap=True)
    numbered = dict(enumerate(pictures, 1))
    return Drawing(
        figure,
        [{"picture": number, **picture.row} for number, picture in numbered.items()],
        [pixel for number, picture in numbered.items() for pixel in pixels(picture.kept_HW, picture=number)],
    )


def draw_block(ax: "Axes", columns: Sequence[Sequence[Picture]], sparsities: Sequence[float]) -> None:
    """Draw one block: its pictures in one image, with labels for rows and columns."""
    tiles = {
        (sparsities.index(picture.cell.sparsity), place): scaled(picture.kept_HW)
        for place, column in enumerate(columns)
        for picture in column
    }
    height, width = tiles_side_by_side(ax, tiles, len(sparsities), len(columns))
    setting, names = column_names([without(column[0].cell.key, "sparsity") for column in columns])
    ax.set_yticks(
        [row * height + (height - 1) / 2 for row in range(len(sparsities))], [f"{100 * s:g}" for s in sparsities]
    )
    ax.set_xticks(
        [place * width + (width - 1) / 2 for place in range(len(columns))], names, rotation=0 if setting else 90
    )
    ax.set_xlabel(setting)


def tiles_side_by_side(
    ax: "Axes", tiles: Mapping[tuple[int, int], numpy.ndarray], rows: int, columns: int
) -> tuple[int, int]:
    """Show pictures in [0, 1] by (row, column) as one image with white lines between; return a tile's height and width with its line."""
    height = max(tile.shape[0] for tile in tiles.values()) + 1
    width = max(tile.shape[1] for tile in tiles.values()) + 1
    image = numpy.full((rows * height - 1, columns * width - 1), numpy.nan)
    for (row, column), tile in tiles.items():
        image[row * height : row * height + tile.shape[0], column * width : column * width + tile.shape[1]] = tile
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return height, width


def scaled(picture_HW: numpy.ndarray) -> numpy.ndarray:
    """Return a picture scaled to [0, 1] by its own maximum."""
    return picture_HW / max(picture_HW.max(), 1)


def column_names(keys: Sequence[Settings]) -> tuple[str, list[str]]:
    """Return the label of the one setting in which keys differ, and its values; where they differ in several, no label, and all in words."""
    differing = [name for name in keys[0] if len({repr(key[name]) for key in keys}) > 1]
    if len(differing) == 1:
        return label(differing[0]), [shown(differing[0], key[differing[0]]) for key in keys]
    return "", common_and_own(keys)[1]
