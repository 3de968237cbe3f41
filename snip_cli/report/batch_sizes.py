"""What the size of the saliency batch changes: the first layer's masks above the errors, as in Figure 3 of Lee et al. (2019)."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from snip_cli import config as configuration
from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell
from snip_cli.report.drawing import Drawing
from snip_cli.report.lines import extent, told_apart
from snip_cli.report.masks import Picture, pictures_of, pixels, scaled, tiles_side_by_side
from snip_cli.report.table import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = "method.batch_size"


def draw_batch_sizes(cells: Sequence[Cell]) -> Drawing:
    """Draw a mask for each size of the saliency batch and the mean training image, and below them the errors beside the published.

    Raises ConfigError where the runs differ in anything else, or have no picture of their first layer, and where the data are not there.
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
    figure = Figure(figsize=(1.6 * (len(pictures) + 1), 5), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(1, 1.6))
    draw_pictures(above, pictures, mean_HW)
    draw_errors(below, cells)
    figure.suptitle(f"{common} ({extent(cells)}); masks of seed {pictures[0].seed}", fontsize="medium")
    numbers = [{**picture.row, **rows([picture.cell])[0]} for picture in pictures]
    mean = {SIZE: "mean training image", "height": mean_HW.shape[0], "width": mean_HW.shape[1], **pixels(mean_HW)}
    return Drawing(figure, [*numbers, mean])


def mean_training_image(folder: Path) -> numpy.ndarray:
    """The mean of all images that a run trains on, over channels too, darkest pixel 0 and brightest 1, (H, W).

    Raises ConfigError where the run's data set cannot be read.
    """
    import torch

    from snip_cli import registry
    from snip_cli.data.loading import load_data

    registry.load_builtin()
    train = load_data(configuration.read(folder / "config.yaml").dataset, torch.device("cpu"), torch.float32).train
    rows_B = torch.arange(len(train)).split(1000)
    total_CHW = sum(images_BCHW.double().sum(dim=0) for images_BCHW, _ in train.selected(rows_B))
    mean_HW = (total_CHW.mean(dim=0) / len(train)).numpy()
    return (mean_HW - mean_HW.min()) / (numpy.ptp(mean_HW) or 1)


def draw_pictures(ax: "Axes", pictures: Sequence[Picture], mean_HW: numpy.ndarray) -> None:
    """The masks by rising size, and last the mean training image."""
    tiles = {(0, place): scaled(picture.kept_HW) for place, picture in enumerate(pictures)}
    _, width = tiles_side_by_side(ax, {**tiles, (0, len(pictures)): mean_HW}, 1, len(pictures) + 1)
    names = [*(f"{picture.cell.key[SIZE]:,}" for picture in pictures), "mean image"]
    ax.set_xticks([place * width + (width - 1) / 2 for place in range(len(names))], names)
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
