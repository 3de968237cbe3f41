"""What the size of the saliency batch changes: the first layer's masks above the errors, as in Figure 3 of Lee et al. (2019)."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from snip_cli.config import reading as configuration
from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell
from snip_cli.report.drawing import Drawing
from snip_cli.report.lines import extent, told_apart
from snip_cli.report.masks import pictures_of, pixels, scaled, tiles_side_by_side
from snip_cli.report.table import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger("snip_cli")

SIZE, MEAN = "method.batch_size", "mean image"


def draw_batch_sizes(cells: Sequence[Cell]) -> Drawing:
    """Draw a mask for each size of the saliency batch and the mean training image, and below them the errors beside the published.

    The mean image is left out, with a warning, of a data set that is not the package's own. Raises ConfigError where the runs differ in
    anything else, or have no picture of their first layer, and where the data are not there.
    """
    from matplotlib.figure import Figure

    cells = sorted((cell for cell in cells if cell.errors and cell.key.get(SIZE)), key=lambda cell: cell.key[SIZE])
    if not cells:
        raise ConfigError(f"No two finished runs differ in {SIZE}: run `snip-run -m {SIZE}=1,10,100` first.")
    keys = [{name: value for name, value in cell.key.items() if name != SIZE} for cell in cells]
    common, own = told_apart(keys)
    if any(own):
        raise ConfigError(
            f"These runs differ in more than {SIZE} ({'; '.join(own)}): put those to be drawn in a folder."
        )
    pictures, mean_HW = pictures_of(cells), mean_training_image(cells[0].folders[0])
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


def mean_training_image(folder: Path) -> numpy.ndarray | None:
    """The mean of all images that a run trains on, over channels too, darkest pixel 0 and brightest 1, (H, W).

    None, with a warning, where the data set is of a user's own folder, which a run does not name. Raises ConfigError where it cannot be read.
    """
    import torch

    from snip_cli import registry
    from snip_cli.data.loading import load_data

    registry.load_builtin()
    dataset = configuration.read(folder / "config.yaml").dataset
    if dataset.name not in registry.datasets.names():
        log.warning(
            "the mean training image is left out: '%s' is no data set of snip-run's own, and a run does not say which --config-dir has it",
            dataset.name,
        )
        return None
    train = load_data(dataset, torch.device("cpu"), torch.float32).train
    rows_B = torch.arange(len(train)).split(1000)
    total_CHW = sum(images_BCHW.double().sum(dim=0) for images_BCHW, _ in train.selected(rows_B))
    mean_HW = (total_CHW.mean(dim=0) / len(train)).numpy()
    return (mean_HW - mean_HW.min()) / (numpy.ptp(mean_HW) or 1)


def draw_images(ax: "Axes", images: Mapping[int | str, numpy.ndarray]) -> None:
    """Pictures side by side, each scaled to its own largest number, with their names below."""
    tiles = {(0, place): scaled(image_HW) for place, image_HW in enumerate(images.values())}
    _, width = tiles_side_by_side(ax, tiles, 1, len(tiles))
    names = [f"{name:,}" if isinstance(name, int) else name for name in images]
    ax.set_xticks([place * width + (width - 1) / 2 for place in range(len(tiles))], names)
    ax.set_yticks([])


def draw_errors(ax: "Axes", cells: Sequence[Cell]) -> None:
    """Mean test errors, a bar of one sample standard deviation where there are several seeds, and the published numbers as crosses."""
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
