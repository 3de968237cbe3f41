"""Error against sparsity as a picture."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy

from snip_cli.config.sections import AUTO
from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell
from snip_cli.report.drawing import Drawing
from snip_cli.report.lines import extent, lines, span, told_apart, without_sparsity
from snip_cli.report.table import rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The part of the axis that a label of it needs.
LEAST = 0.035


def draw_errors(cells: Sequence[Cell]) -> Drawing:
    """Draw test error (mean, band of one sample standard deviation over seeds) against sparsity, a curve a method and model.

    The axis is stretched towards 100 %, where pruning is interesting: even steps are even factors of what is kept. Published numbers
    are crosses, beside runs of the same protocol. Raises ConfigError where nothing is finished.
    """
    from matplotlib.figure import Figure

    drawn = lines(cells)
    if not drawn:
        raise ConfigError("There is nothing to draw: no run is finished.")
    common, names = told_apart([without_sparsity(line[-1].key) for line in drawn])
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for line, name in zip(drawn, names, strict=True):
        draw_line(axes, line, name or common)
    everything = [cell for line in drawn for cell in line]
    axes.set_title(f"{common} ({extent(everything)})" if common else extent(everything), fontsize="medium")
    axes.set_xscale("function", functions=(stretch, shrink))
    places = ticks(everything)
    axes.set_xticks(places, apart([f"{place:g}" for place in places], stretch(numpy.array(places))))
    axes.set_xlabel("sparsity (%), by the logarithm of what is kept")
    axes.set_ylabel("test error (%)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return Drawing(figure, rows([cell for cell in cells if cell.errors]))


def draw_line(axes: "Axes", line: Sequence[Cell], name: str) -> None:
    """One curve with its band, and crosses where numbers are published for its protocol."""
    sparsity = [100 * cell.sparsity for cell in line]
    mean = [statistics.fmean(cell.errors) for cell in line]
    std = [statistics.stdev(cell.errors) if len(cell.errors) > 1 else 0.0 for cell in line]
    n = span(sorted({len(cell.errors) for cell in line}))
    [curve] = axes.plot(sparsity, mean, marker="o", markersize=4, label=f"{name} (n = {n})")
    low = [max(m - s, 0.0) for m, s in zip(mean, std, strict=True)]
    high = [min(m + s, 100.0) for m, s in zip(mean, std, strict=True)]
    axes.fill_between(sparsity, low, high, alpha=0.2, color=curve.get_color())
    crosses = [
        (100 * cell.sparsity, cell.published.error)
        for cell in line
        if cell.published and not cell.published.deviations(cell.settings)
    ]
    if crosses:
        axes.scatter(
            *zip(*crosses, strict=True), marker="x", color=curve.get_color(), label=f"{name}, published", zorder=3
        )


def ticks(cells: Sequence[Cell]) -> list[float]:
    """The sparsities that were asked for, in percent; where all were found by a method, those that were reached, to the nearest percent."""
    asked = sorted({100 * cell.settings["sparsity"] for cell in cells if cell.settings["sparsity"] != AUTO})
    return asked if len(asked) > 1 else sorted({round(100 * cell.sparsity) for cell in cells})


def apart(labels: Sequence[str], places: numpy.ndarray) -> list[str]:
    """The labels, empty where one would run into the one before it; `places`, rising, are where they stand on the axis."""
    shown: list[str] = []
    last = -numpy.inf
    for label, place in zip(labels, places, strict=True):
        far = place - last >= LEAST * (places[-1] - places[0])
        shown.append(label if far else "")
        last = place if far else last
    return shown


def stretch(sparsity: numpy.ndarray) -> numpy.ndarray:
    """Sparsity in percent → −log₁₀ of the fraction that is kept."""
    return -numpy.log10(numpy.clip(1 - numpy.asarray(sparsity) / 100, 1e-6, None))


def shrink(stretched: numpy.ndarray) -> numpy.ndarray:
    """The inverse of `stretch`."""
    return 100 * (1 - 10 ** -numpy.asarray(stretched))
