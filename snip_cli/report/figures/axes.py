"""The axes of error against sparsity: their scales, how far they reach, and the references across them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from snip_cli.config.sections import AUTO
from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell
from snip_cli.report.figures.styles import highest_error, is_dead
from snip_cli.report.names import short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The fraction of the axis that a label needs, and that each of its characters needs.
LABEL_WIDTH, CHARACTER = 0.035, 0.015
# The fraction of the axis that is left free beside the points.
BESIDE = 0.05
# An axis of logarithms has no 0. Fractions nearer to 0 or 1 than this are drawn here.
NEAREST = 1e-6
# By style: solid, dashed, dotted, both.
LINES, MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D")


@dataclass(frozen=True)
class Look:
    """What the user chooses of the figure: a logarithmic axis of errors, a logit axis of sparsities, bars instead of bands."""

    log: bool = False
    logit: bool = False
    bars: bool = False


def on_axis(lines: Sequence[Sequence[Cell]], look: Look) -> list[list[Cell]]:
    """Return the cells of each line that the axis of sparsities can show. Raises ConfigError where there are none."""
    shown = [[cell for cell in line if not look.logit or 0 < cell.sparsity < 1] for line in lines]
    if look.logit and not any(shown):
        raise ConfigError("A logit axis has no place for sparsity 0, and no pruned run is finished: leave out --logit.")
    return shown


def scale_axes(axes: "Axes", drawn: Sequence[Cell], look: Look) -> None:
    """Set the scales, ticks and limits of a figure that shows these cells."""
    forward, backward = (logit, expit) if look.logit else (stretch, shrink)
    places = [place for place in ticks(drawn) if place > 0 or not look.logit]
    axes.set_xscale("function", functions=(forward, backward))
    axes.set_xticks(places, spaced([f"{place:.5g}" for place in places], forward(numpy.array(places))))
    if look.logit:  # matplotlib would leave room in percent, which is far on this axis
        ends = forward(numpy.array([100 * min(c.sparsity for c in drawn), 100 * max(c.sparsity for c in drawn)]))
        room = BESIDE * (ends[1] - ends[0]) or BESIDE
        axes.set_xlim(*backward(numpy.array([ends[0] - room, ends[1] + room])))
    axes.set_xlabel(f"sparsity (%), {'logit axis' if look.logit else 'by the logarithm of what is kept'}")
    axes.set_ylabel("test error (%)")
    limit_errors(axes, drawn, [100 * cell.sparsity for cell in drawn], look)


def limit_errors(axes: "Axes", drawn: Sequence[Cell], places: Sequence[float], look: Look) -> None:
    """Let the axis of errors end above the seeds that learned, and put a triangle at its end for each mean that is outside.

    `places` are where the cells are on the other axis.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    top = highest_error(drawn)
    means = [(place, statistics.fmean(cell.errors)) for place, cell in zip(places, drawn, strict=True)]
    if look.log:
        positive = [mean for _, mean in means if mean > 0] or [1.0]
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(min(positive) / 1.5, max(top, 1.5 * min(positive)))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif any(is_dead(result, cell) for cell in drawn for result in cell.results):
        axes.set_ylim(0.0, top)
    low, high = axes.get_ylim()
    for marker, end, outside in (
        ("^", high, [place for place, mean in means if mean > high]),
        ("v", low, [place for place, mean in means if mean < low]),
    ):
        if outside:
            label = "above the axis" if marker == "^" else "below the axis"
            axes.plot(outside, [end] * len(outside), marker, color="black", clip_on=False, zorder=4, label=label)


def draw_references(axes: "Axes", lines: Sequence[Sequence[Cell]], colours: Sequence[str]) -> None:
    """Draw a horizontal line at each reference from which a line starts: black if there is one, else in the colour of its first line."""
    started: dict[int, tuple[Cell, str]] = {}
    for line, colour in zip(lines, colours, strict=True):
        for cell in line:
            if cell.settings["method"] == "reference" and len(line) > 1:
                started.setdefault(id(cell), (cell, colour))
    names = short_names([cell.key for cell, _ in started.values()], hidden=("method", "sparsity"))
    for (cell, colour), name in zip(started.values(), names, strict=True):
        own = "black" if len(started) == 1 else colour
        label = f"reference, {name}" if name else "reference"
        axes.axhline(statistics.fmean(cell.errors), color=own, linewidth=0.9, linestyle=(0, (6, 4)), label=label)


def ticks(drawn: Sequence[Cell]) -> list[float]:
    """Return the requested sparsities in percent or, where methods found them, the reached ones to the nearest percent."""
    asked = sorted({100 * cell.settings["sparsity"] for cell in drawn if cell.settings["sparsity"] != AUTO})
    return asked if len(asked) > 1 else sorted({round(100 * cell.sparsity) for cell in drawn})


def spaced(labels: Sequence[str], places: numpy.ndarray) -> list[str]:
    """Return the labels, emptied where one would overlap the one before it; `places`, rising, are their places on the axis."""
    shown: list[str] = []
    last, before = -numpy.inf, ""
    for label, place in zip(labels, places, strict=True):
        needed = max(LABEL_WIDTH, CHARACTER * (len(before) + len(label)) / 2)
        far = place - last >= needed * (places[-1] - places[0])
        shown.append(label if far else "")
        last, before = (place, label) if far else (last, before)
    return shown


def stretch(sparsity: numpy.ndarray) -> numpy.ndarray:
    """Return −log₁₀ of the fraction that is kept, for a sparsity in percent."""
    return -numpy.log10(numpy.clip(1 - numpy.asarray(sparsity) / 100, NEAREST, None))


def shrink(stretched: numpy.ndarray) -> numpy.ndarray:
    """Return the sparsity in percent: the inverse of `stretch`."""
    return 100 * (1 - 10 ** -numpy.asarray(stretched))


def logit(sparsity: numpy.ndarray) -> numpy.ndarray:
    """Return log₁₀ of the fraction that is removed over the fraction that is kept, for a sparsity in percent."""
    removed = numpy.clip(numpy.asarray(sparsity) / 100, NEAREST, 1 - NEAREST)
    return numpy.log10(removed / (1 - removed))


def expit(odds: numpy.ndarray) -> numpy.ndarray:
    """Return the sparsity in percent: the inverse of `logit`."""
    return 100 / (1 + 10 ** -numpy.asarray(odds))
