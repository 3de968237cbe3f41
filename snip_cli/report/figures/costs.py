"""Error against cost: the iterations of training behind each method's errors."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snip_cli.config.sections import AUTO
from snip_cli.errors import ConfigError
from snip_cli.report.captions import common_and_own, extent, phrase, without
from snip_cli.report.cells import Cell, lines
from snip_cli.report.figures.axes import MARKERS, Look, Mean, draw_references, limit_errors
from snip_cli.report.figures.drawing import Drawing
from snip_cli.report.figures.legends import place_legend
from snip_cli.report.figures.styles import deviation, style_of, warn_of_repeats
from snip_cli.report.names import short_names
from snip_cli.report.tables.columns import mean
from snip_cli.report.tables.errors import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Panels in a row, and the width and height of each in inches.
ACROSS, WIDTH, HEIGHT = 3, 3.8, 3.3
# The factor between the places of points that would hide each other.
APART = 1.04


@dataclass(frozen=True)
class Point:
    """A cell, the number and the name of its line, and the iterations of training that its result took, mean over the seeds."""

    cell: Cell
    number: int
    name: str
    iterations: float


def draw_costs(found: Sequence[Cell], look: Look | None = None) -> Drawing:
    """Draw test error (mean, with a bar of one sample standard deviation over seeds) against iterations, a panel for each sparsity.

    The iterations are all that a result took, those of its reference and its rounds included. Points with the same iterations stand side by
    side. A method has the colour that it has in the figure of error against sparsity. References are lines across the panels. Raises
    ConfigError where no pruned run has a cost.
    """
    from matplotlib.figure import Figure

    drawn, look = lines(found), look or Look()
    keys = [without(line[-1].key, "sparsity") for line in drawn]
    common, names = common_and_own(keys)[0], short_names(keys)
    points = points_of(drawn, [name or common for name in names])
    if not points:
        raise ConfigError(
            "There is nothing to draw: no pruned run here is finished and has a cost. Records of earlier versions have none, and of "
            "weights from outside the iterations are not known."
        )
    warn_of_repeats(len(drawn))
    panels = sorted(
        {point.cell.settings["sparsity"] for point in points}, key=lambda sparsity: (sparsity == AUTO, sparsity)
    )
    across = min(ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(max(WIDTH * across, 5.0), HEIGHT * down + 0.6), layout="constrained")
    grid = [*figure.subplots(down, across, squeeze=False).flat]
    for axes, sparsity in zip(grid, panels, strict=False):
        draw_panel(axes, [point for point in points if point.cell.settings["sparsity"] == sparsity], drawn, look)
        axes.set_title(phrase("sparsity", sparsity), fontsize="medium")
    for axes in grid[len(panels) :]:
        axes.remove()
    shown = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    place_legend(figure, list(shown.values()), loc="outside lower center", ncols=across)
    behind = extent([point.cell for point in points])
    figure.suptitle(f"{common} ({behind})" if common else behind, fontsize="medium", wrap=True)
    numbers = zip(points, rows([point.cell for point in points], ["cost"]), strict=True)
    return Drawing(figure, [row | {"iterations": point.iterations} for point, row in numbers])


def points_of(drawn: Sequence[Sequence[Cell]], names: Sequence[str]) -> list[Point]:
    """Return a point for each pruned cell of these lines whose iterations of training are known."""
    return [
        Point(cell, number, name, iterations)
        for number, (line, name) in enumerate(zip(drawn, names, strict=True))
        for cell in line
        if cell.settings["method"] != "reference" and (iterations := mean(cell, "iterations"))
    ]


def draw_panel(axes: "Axes", points: Sequence[Point], drawn: Sequence[Sequence[Cell]], look: Look) -> None:
    """Draw the points of one sparsity, and the references of the lines in `drawn` that have a point here."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    places = side_by_side([point.iterations for point in points])
    for point, place in zip(points, places, strict=True):
        style = style_of(point.number)
        axes.errorbar(
            place,
            statistics.fmean(point.cell.errors),
            deviation(point.cell) or None,
            color=f"C{style.colour}",
            marker=MARKERS[style.dash],
            markersize=5,
            linestyle="none",
            capsize=2,
            label=point.name,
        )
    numbers = sorted({point.number for point in points})
    colours = [f"C{style_of(number).colour}" for number in numbers]
    references = draw_references(axes, [drawn[number] for number in numbers], colours)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize="small")
    axes.set_xlabel("iterations of training in all (equal ones side by side)", fontsize="small")
    axes.set_ylabel("test error (%)")
    means = [
        Mean(point.cell, place, f"C{style_of(point.number).colour}")
        for point, place in zip(points, places, strict=True)
    ]
    limit_errors(axes, means, look, references)
    axes.grid(alpha=0.3)


def side_by_side(iterations: Sequence[float]) -> list[float]:
    """Return where points are drawn on the logarithmic axis: those at the same iterations beside each other, around the right place."""
    places = []
    for number, own in enumerate(iterations):
        before, equal = iterations[:number].count(own), iterations.count(own)
        places.append(own * APART ** (before - (equal - 1) / 2))
    return places
