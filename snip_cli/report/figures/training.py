"""Training curves: loss and error against iteration, as in Figure 4 of Lee et al. (2019)."""

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from snip_cli.errors import ConfigError
from snip_cli.report.captions import common_and_own, extent
from snip_cli.report.cells import Cell
from snip_cli.report.figures.axes import LINES, MARKERS
from snip_cli.report.figures.drawing import Drawing
from snip_cli.report.figures.legends import place_legend
from snip_cli.report.figures.styles import style_of, warn_of_repeats
from snip_cli.report.names import short_names
from snip_cli.report.records import Row
from snip_cli.runfolder.record import read_evaluations
from snip_cli.runfolder.results import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Column of metrics.csv → title of its panel. A panel that no run has measured is left out.
PANELS = {"train_loss": "training loss", "train_error": "training error (%)", "test_error": "test error (%)"}


def draw_trainings(cells: Sequence[Cell]) -> Drawing:
    """Draw training loss, training error where it was measured, and test error against iteration: a line per cell, a band over seeds.

    A training in progress is drawn as far as it is. Raises ConfigError where no run was evaluated.
    """
    from matplotlib.figure import Figure

    points = {place: points_of(cell) for place, cell in enumerate(cells)}
    drawn = [place for place, found in points.items() if found]
    if not drawn:
        raise ConfigError(
            "There is nothing to draw: no run has a metrics.csv with evaluations, and a record without tensors has none. Name folders as snip-run wrote them."
        )
    keys = [cells[place].key for place in drawn]
    common, names = common_and_own(keys)[0], short_names(keys)
    warn_of_repeats(len(drawn))
    panels = [name for name in PANELS if any(name in point for place in drawn for point in points[place])]
    figure = Figure(figsize=(4.5 * len(panels), 4.2), layout="constrained")
    for ax, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, (place, name) in enumerate(zip(drawn, names, strict=True)):
            draw_line(ax, points[place], panel, name or common, number)
        ax.set_xlabel("iteration")
        ax.set_ylabel(PANELS[panel])
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    handles, _ = figure.axes[0].get_legend_handles_labels()
    place_legend(figure, handles, loc="outside lower center", ncols=2)
    # The paper does not say how many seeds its training curves have.
    rates = sorted({cells[place].settings["schedule.learning_rate"] for place in drawn})
    behind = f"{extent([cells[place] for place in drawn], full_seeds=1)}, learning rate {', '.join(f'{rate:g}' for rate in rates)}"
    figure.suptitle(f"{common} ({behind})", fontsize="medium", wrap=True)
    return Drawing(figure, [{**cells[place].key, **point} for place in drawn for point in points[place]])


def points_of(cell: Cell) -> list[Row]:
    """Return a point per evaluated iteration: n, and for every measured column mean and sample standard deviation (NAME_std)."""
    measured: dict[int, dict[int, Evaluation]] = {}
    for folder in reversed(cell.folders):  # a seed that several folders hold counts once, the first one
        for seed, row in read_evaluations(folder):
            measured.setdefault(row.iteration, {})[seed] = row
    points = []
    for iteration, seeds in sorted(measured.items()):
        point: Row = {"iteration": iteration, "n": len(seeds)}
        for name in PANELS:
            values = [value for row in seeds.values() if (value := getattr(row, name)) is not None]
            if values:
                point[name] = statistics.fmean(values)
                is_finite = all(map(math.isfinite, values))  # a seed that diverged has a loss of inf or nan
                point[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 and is_finite else None
        points.append(point)
    return points


def draw_line(ax: "Axes", points: Sequence[Row], panel: str, name: str, number: int) -> None:
    """Draw one cell's line in one panel in the look of its `number`, with a band of one standard deviation where there are several seeds."""
    points = [point for point in points if panel in point]
    iterations, mean = [point["iteration"] for point in points], [point[panel] for point in points]
    style = style_of(number)
    colour, marker = f"C{style.colour}", MARKERS[style.dash] if len(points) < 3 else None
    ax.plot(iterations, mean, color=colour, linestyle=LINES[style.dash], label=name, marker=marker, markersize=4)
    std = [point[f"{panel}_std"] or 0.0 for point in points]
    if any(std):
        low, high = [m - s for m, s in zip(mean, std, strict=True)], [m + s for m, s in zip(mean, std, strict=True)]
        ax.fill_between(iterations, low, high, alpha=0.2, color=colour)
