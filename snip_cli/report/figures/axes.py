"""The axes of error against sparsity: their scales, how far they reach, and the references across them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from snip_cli.config.sections import AUTO
from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell
from snip_cli.report.figures.styles import deviation, highest_error, is_dead
from snip_cli.report.names import short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The fraction of the axis that a label needs, and that each of its characters needs.
LABEL_WIDTH, CHARACTER = 0.035, 0.015
# The fraction of the axis that is left free beside the points.
BESIDE = 0.05
# An axis of logarithms has no 0. Fractions nearer to 0 or 1 than this are drawn here.
NEAREST = 1e-6
# A logarithmic axis of errors shows a band down to this fraction of its mean, and at least this fraction below every mean.
DEEPEST, BELOW = 0.2, 1 / 1.5
# Points: the height of a line of values that are outside the axis.
LINE_HEIGHT = 10
# Such a value this near to a side of the figure, as a fraction of the axis, stands beside its place instead of around it.
NEAR_SIDE = 0.1
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


@dataclass(frozen=True)
class Mean:
    """The mean of a cell as a figure draws it: its place on the other axis, and its colour."""

    cell: Cell
    place: float
    colour: str

    @property
    def error(self) -> float:
        return statistics.fmean(self.cell.errors)


def scale_axes(axes: "Axes", drawn: Sequence[Mean], look: Look, references: Sequence[Cell] = ()) -> None:
    """Set the scales, ticks and limits of a figure that shows these means by sparsity, and lines at the errors of `references`."""
    cells = [mean.cell for mean in drawn]
    forward, backward = (logit, expit) if look.logit else (stretch, shrink)
    places = [place for place in ticks(cells) if place > 0 or not look.logit]
    axes.set_xscale("function", functions=(forward, backward))
    axes.set_xticks(places, spaced([f"{place:.5g}" for place in places], forward(numpy.array(places))))
    # matplotlib would leave room in percent, which is far near 100 %
    ends = forward(numpy.array([min(mean.place for mean in drawn), max(mean.place for mean in drawn)]))
    room = BESIDE * (ends[1] - ends[0]) or BESIDE
    axes.set_xlim(*backward(numpy.array([ends[0] - room, ends[1] + room])))
    axes.set_xlabel(f"sparsity (%), {'logit axis' if look.logit else 'by the logarithm of what is kept'}")
    axes.set_ylabel("test error (%)")
    limit_errors(axes, drawn, look, references)


def limit_errors(axes: "Axes", drawn: Sequence[Mean], look: Look, references: Sequence[Cell] = ()) -> None:
    """Set the scale and the limits of the axis of errors, and write the value of each mean that is outside at the end of the axis.

    An axis of logarithms reaches every mean. Another one leaves out means that would stretch it too far, as `highest_error` says.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    cells = [*(mean.cell for mean in drawn), *references]
    if look.log:
        axes.set_yscale("log", nonpositive="clip")
        bottom = lowest_error(cells)
        axes.set_ylim(bottom, max(highest_error(cells, every_mean=True), 2 * bottom))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif any(is_dead(result, cell) for cell in cells for result in cell.results):
        axes.set_ylim(0.0, highest_error(cells))
    low, high = axes.get_ylim()
    apart = list({id(mean.cell): mean for mean in reversed(drawn)}.values())  # one reference starts several lines
    above, below = [mean for mean in apart if mean.error > high], [mean for mean in apart if mean.error < low]
    _write_outside(axes, "▲", high, sorted(above, key=lambda mean: -mean.error), -LINE_HEIGHT)
    _write_outside(axes, "▼", low, sorted(below, key=lambda mean: mean.error), LINE_HEIGHT)


def lowest_error(cells: Sequence[Cell]) -> float:
    """Return the lower end of a logarithmic axis of errors. It shows bands, except where they come near to 0, and published numbers."""
    means = [(statistics.fmean(cell.errors), deviation(cell)) for cell in cells]
    ends = [min(BELOW * mean, max(mean - std, DEEPEST * mean)) for mean, std in means if mean > 0]
    published = [BELOW * cell.published.error for cell in cells if cell.published]
    return min([*ends, *published], default=BELOW)


def _write_outside(axes: "Axes", triangle: str, end: float, means: Sequence[Mean], step: float) -> None:
    """Write the values of means that are outside at one end of the axis, each in its colour, those at one place below each other.

    The first one of a place stands next to the end, and each other one `step` points further.
    """
    places = [mean.place for mean in means]
    for number, mean in enumerate(means):
        line = places[:number].count(mean.place) + 0.6
        across = axes.transAxes.inverted().transform(axes.transData.transform((mean.place, end)))[0]
        axes.annotate(
            f"{triangle} {mean.error:.2f}",
            (mean.place, end),
            xytext=(0, line * step),
            textcoords="offset points",
            ha="left" if across < NEAR_SIDE else "right" if across > 1 - NEAR_SIDE else "center",
            va="center",
            color=mean.colour,
            fontsize="small",
            annotation_clip=False,
        )


def draw_references(axes: "Axes", lines: Sequence[Sequence[Cell]], colours: Sequence[str]) -> list[Cell]:
    """Draw a horizontal line at each reference from which a line starts: black if there is one, else in the colour of its first line.

    Returns these references.
    """
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
    return [cell for cell, _ in started.values()]


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
