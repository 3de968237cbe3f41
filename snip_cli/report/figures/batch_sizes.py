"""The effect of the size of the saliency batch: the first layer's masks above the errors, as in Figure 3 of Lee et al. (2019)."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from snip_cli.errors import ConfigError
from snip_cli.report.captions import common_and_own, extent, without
from snip_cli.report.cells import Cell
from snip_cli.report.figures.drawing import Drawing
from snip_cli.report.figures.masks import pictures_of, pixels, scaled, tiles_side_by_side
from snip_cli.report.tables.errors import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE, MEAN = "method.batch_size", "mean image"
# A run's folder → its mean training image. It needs data and torch, which this room may not import.
MeanImage = Callable[[Path], numpy.ndarray | None]


def draw_batch_sizes(cells: Sequence[Cell], mean_image: MeanImage) -> Drawing:
    """Draw a mask for each size of the saliency batch and the mean training image, and below them our errors and the published ones.

    `mean_image` returns the mean image, (H, W), that the run in a folder trains on, or None, in which case it is left out. Raises ConfigError
    where the runs differ in anything else, or have no picture of their first layer.
    """
    from matplotlib.figure import Figure

    cells = sorted((cell for cell in cells if cell.errors and cell.key.get(SIZE)), key=lambda cell: cell.key[SIZE])
    if not cells:
        raise ConfigError(f"No two finished runs differ in {SIZE}: run `snip-run -m {SIZE}=1,10,100` first.")
    common, own = common_and_own([without(cell.key, SIZE) for cell in cells])
    if any(own):
        raise ConfigError(
            f"These runs differ in more than {SIZE} ({'; '.join(own)}): move those to be drawn to a folder of their own."
        )
    pictures, mean_HW = pictures_of(cells), mean_image(cells[0].folders[0])
    images: dict[int | str, numpy.ndarray] = {picture.cell.key[SIZE]: picture.kept_HW for picture in pictures}
    if mean_HW is not None:
        images[MEAN] = mean_HW
    figure = Figure(figsize=(max(1.6 * len(images), 5.0), 5), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.6))
    draw_images(above, images)
    draw_errors(below, cells)
    figure.suptitle(f"{common} ({extent(cells)}); masks of seed {pictures[0].seed}", fontsize="medium")
    pixels_of = [pixel for name, image_HW in images.items() for pixel in pixels(image_HW, **{SIZE: name})]
    return Drawing(figure, rows([picture.cell for picture in pictures]), pixels_of)


def draw_images(ax: "Axes", images: Mapping[int | str, numpy.ndarray]) -> None:
    """Draw pictures side by side, each scaled to its own maximum, with their names below."""
    tiles = {(0, place): scaled(image_HW) for place, image_HW in enumerate(images.values())}
    _, width = tiles_side_by_side(ax, tiles, 1, len(tiles))
    names = [f"{name:,}" if isinstance(name, int) else name for name in images]
    ax.set_xticks([place * width + (width - 1) / 2 for place in range(len(tiles))], names)
    ax.set_yticks([])


def draw_errors(ax: "Axes", cells: Sequence[Cell]) -> None:
    """Draw mean test errors, bars of one sample standard deviation where there are several seeds, and published numbers as crosses."""
    sizes = [cell.key[SIZE] for cell in cells]
    mean = [statistics.fmean(cell.errors) for cell in cells]
    std = [statistics.stdev(cell.errors) if len(cell.errors) > 1 else 0.0 for cell in cells]
    ax.errorbar(sizes, mean, std, marker="o", capsize=4, label="ours")
    published = [(cell.key[SIZE], cell.published.error) for cell in cells if cell.published]
    if published:
        ax.plot(*zip(*published, strict=True), "x--", label="published")
    ax.set_xscale("log")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.minorticks_off()
    ax.set_xlabel("images in the saliency batch")
    ax.set_ylabel("test error (%)")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
