"""Pictures of the cells of one sparsity, or of one line over all its sparsities: densities by layer, and training curves."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell
from snip_cli.report.figures.training import PANELS, points_of
from snip_cli.report.page.charts import Chart, Point, Scale, Series, chart, linear, logarithmic
from snip_cli.report.records import Row

# A line of a chart: its name, the number that chooses its look, and its cells.
Named = tuple[str, int, Sequence[Cell]]
# How many points of a training curve show their value; a long training has many more.
MARKED = 40


@dataclass(frozen=True)
class Group:
    """Pictures of the cells of one sparsity, or of one line over all its sparsities: densities by layer, then training curves."""

    title: str
    charts: Sequence[Chart]


def groups(named: Sequence[Named], missing: dict[str, None]) -> list[Group]:
    """Return the pictures by sparsity, methods side by side; by method where no two lines have a sparsity in common.

    Adds the reasons why pictures are left out to `missing`.
    """
    by_sparsity: dict[float, list[Named]] = {}
    for name, number, line in named:
        for cell in line:
            by_sparsity.setdefault(cell.sparsity, []).append((name, number, [cell]))
    if any(len(found) > 1 for sparsity, found in by_sparsity.items() if sparsity > 0):
        grouped = [(f"Sparsity {sparsity:.5g}", by_sparsity[sparsity]) for sparsity in sorted(by_sparsity)]
        if 0.0 in by_sparsity:  # one reference starts several lines
            alone = {id(one[2][0]): one for one in reversed(by_sparsity[0.0])}
            grouped[0] = ("Sparsity 0", [("reference", number, line) for _, number, line in reversed(alone.values())])
    else:
        grouped = [
            (name, [(f"sparsity {cell.sparsity:.5g}", place, [cell]) for place, cell in enumerate(line)])
            for name, _, line in named
        ]
    made = [Group(title, [*densities(of), *trainings(of, missing)]) for title, of in grouped]
    return [group for group in made if group.charts]


def densities(named: Sequence[Named]) -> list[Chart]:
    """Return the density of every layer, mean over the seeds, for the cells that are pruned; nothing where no record has counts."""
    series = []
    layers: dict[str, None] = {}
    for name, number, [cell] in named:
        results = [result for result in cell.results if result.layers]
        if not results or cell.settings["method"] == "reference":
            continue
        points = []
        for place, layer in enumerate(results[0].layers):
            layers[layer.name] = None
            density = 100 * statistics.fmean(one.layers[place].kept / one.layers[place].total for one in results)
            points.append(Point(place, density, f"{name}, {layer.name}: {density:.3g} % of {layer.total:,}"))
        series.append(Series(name, number, points))
    if not series:
        return []
    x = Scale("layer", -0.3, len(layers) - 0.7, list(enumerate(layers)))
    y = logarithmic("kept (%)", [point.y for one in series for point in one.points])
    return [chart("Density by layer", series, x, y)]


def trainings(named: Sequence[Named], missing: dict[str, None]) -> list[Chart]:
    """Return training loss, training error and test error against iteration, as far as they were measured."""
    measured = []
    for name, number, [cell] in named:
        try:
            measured.append((name, number, points_of(cell)))
        except ConfigError as error:
            missing[str(error)] = None
    charts = []
    for panel, title in PANELS.items():
        curves = [Series(name, number, _curve(name, points, panel)) for name, number, points in measured]
        curves = [curve for curve in curves if curve.points]
        if curves:
            x = linear("iteration", [point.x for curve in curves for point in curve.points])
            y = linear(title, [point.y for curve in curves for point in curve.points])
            charts.append(chart(f"{title[0].upper()}{title[1:]}", curves, x, y))
    return charts


def _curve(name: str, points: Sequence[Row], panel: str) -> list[Point]:
    """Return the points of one curve; a loss that is not finite is left out, and only some points, with the last, show their value."""
    known = [point for point in points if math.isfinite(point.get(panel, math.nan))]
    every = -(-len(known) // MARKED)
    curve = []
    for left, point in zip(reversed(range(len(known))), known, strict=True):
        text = f"{name}, iteration {point['iteration']:,}: {point[panel]:.4g}" if left % every == 0 else ""
        curve.append(Point(point["iteration"], point[panel], text, point[f"{panel}_std"] or 0.0))
    return curve
