"""What pruning left of the first layer, as pictures: Figure 2 of Lee et al. (2019).

Shapes: an image has H×W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell
from snip_cli.report.drawing import Drawing
from snip_cli.report.lines import called, extent, shown, told_apart, without_sparsity
from snip_cli.runfolder.picture import first_layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Pictures of different values of these stand in blocks side by side; those of any other setting in columns of one.
BLOCK = ("method", "model", "dataset")


@dataclass(frozen=True)
class Picture:
    """A cell, the first of its seeds, and how many weights of the first layer each pixel keeps there, kept_HW."""

    cell: Cell
    seed: int
    kept_HW: numpy.ndarray

    @property
    def row(self) -> dict[str, Any]:
        """What a CSV says of the picture: the weights that the first layer keeps, on how many pixels, and at most on one."""
        kept, on, most = int(self.kept_HW.sum()), numpy.count_nonzero(self.kept_HW), int(self.kept_HW.max())
        return {**self.cell.key, "seed": self.seed, "weights_kept": kept, "pixels_kept": on, "most_on_a_pixel": most}


def pixels(picture_HW: numpy.ndarray, **names: Any) -> list[dict[str, Any]]:
    """The pixels of a picture for a CSV, a row each with the picture's `names`; y counts from the top and x from the left, from 0."""
    return [{**names, "y": y, "x": x, "value": value.item()} for (y, x), value in numpy.ndenumerate(picture_HW)]


def pictures_of(cells: Sequence[Cell]) -> list[Picture]:
    """The pictures of all pruned cells that have one; raises ConfigError where none has."""
    from snip_cli.runfolder.checkpoint import load_masks  # torch

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
            f"The first layer of {others[0]} is not linear on the pixels, so there is no picture of it: take model=lenet_300_100."
        )
    if not made:
        raise ConfigError("There is nothing to draw: no pruned run has a mask.pt.")
    return made


def draw_masks(cells: Sequence[Cell]) -> Drawing:
    """Draw how many weights of the first layer each pixel keeps, a picture a run (its first seed), scaled to its own largest number.

    A row a sparsity, a column for each value of what else differs, a block for each method, model and data set. Raises ConfigError
    where no run has such a layer.
    """
    from matplotlib.figure import Figure

    pictures = pictures_of(cells)
    sparsities = sorted({picture.cell.sparsity for picture in pictures})
    blocks: dict[tuple[Any, ...], dict[str, list[Picture]]] = {}
    for picture in pictures:
        columns = blocks.setdefault(tuple(picture.cell.settings[name] for name in BLOCK), {})
        columns.setdefault(repr(without_sparsity(picture.cell.key)), []).append(picture)
    common, titles = told_apart([dict(zip(BLOCK, block, strict=True)) for block in blocks])
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
    """One block: its pictures side by side in one image, with what tells rows and columns apart along its edges."""
    tiles = {
        (sparsities.index(picture.cell.sparsity), place): scaled(picture.kept_HW)
        for place, column in enumerate(columns)
        for picture in column
    }
    height, width = tiles_side_by_side(ax, tiles, len(sparsities), len(columns))
    setting, names = column_names([without_sparsity(column[0].cell.key) for column in columns])
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
    """Show pictures in [0, 1] by (row, column) as one image with white lines between; gives a tile's height and width with its line."""
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
    """A picture brought to [0, 1] by its own largest number."""
    return picture_HW / max(picture_HW.max(), 1)


def column_names(keys: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The one setting in which keys differ, as a reader calls it, and its values; where they differ in several, no setting, and all of these in words."""
    differing = [name for name in keys[0] if len({repr(key[name]) for key in keys}) > 1]
    if len(differing) == 1:
        return called(differing[0]), [shown(key[differing[0]]) for key in keys]
    return "", told_apart(keys)[1]
