"""What keeps figures readable: how their lines look, and how far their axes reach. matplotlib's figures and the HTML page share it."""

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from snip_cli.report.cells import Cell
from snip_cli.runfolder.results import SeedResult

log = logging.getLogger("snip_cli")

COLOURS, DASHES = 10, 4
# A seed of an earlier version does not say whether it learned. It did not if its error is within so many points of guessing.
NEAR_GUESSING = 5.0
# The share of the axis that is left free above the highest value.
MARGIN = 1.05
# Means over seeds that learned nothing may stretch the axis by this factor. Larger ones would hide the differences between the others.
STRETCH = 2.0


@dataclass(frozen=True)
class Style:
    """The place of a line's colour among ten, and of its dashes and marker among four."""

    colour: int
    dash: int


def style_of(number: int) -> Style:
    """Return the look of the line `number`, from 0: first all colours with a solid line, then all with dashes, and so on."""
    return Style(number % COLOURS, number // COLOURS % DASHES)


def warn_of_repeats(lines: int) -> None:
    """Warn that lines of a figure look alike, where it has more lines than there are looks."""
    if lines > COLOURS * DASHES:
        log.warning(
            "a figure has %d lines and only %d looks, so that some look alike: name fewer folders, such as runs/snip-*",
            *(lines, COLOURS * DASHES),
        )


def is_dead(result: SeedResult, cell: Cell) -> bool:
    """Return whether a seed learned nothing."""
    classes = cell.settings.get("dataset.classes")
    guessing = 100.0 * (1 - 1 / classes) if classes else 100.0
    return result.learned is False or (result.learned is None and result.test_error >= guessing - NEAR_GUESSING)


def deviation(cell: Cell) -> float:
    """Return the sample standard deviation that a figure shows: 0 for one seed, and where a seed learned nothing.

    With such a seed the deviation says nothing of the others, and its band would cover the figure.
    """
    if len(cell.errors) < 2 or any(is_dead(result, cell) for result in cell.results):
        return 0.0
    return statistics.stdev(cell.errors)


def highest_error(cells: Sequence[Cell], *, every_mean: bool = False) -> float:
    """Return the upper end of an axis of errors.

    The axis reaches the bands of the seeds that learned, and published numbers. It reaches a mean over seeds that learned nothing where
    that makes it at most twice as long, where no seed learned anything, and with `every_mean`.
    """
    alive = [[result.test_error for result in cell.results if not is_dead(result, cell)] for cell in cells]
    errors = [of_cell for of_cell in alive if of_cell] or [cell.errors for cell in cells if cell.errors]
    published = [cell.published.error for cell in cells if cell.published]
    reach = [statistics.fmean(of_cell) + (statistics.stdev(of_cell) if len(of_cell) > 1 else 0.0) for of_cell in errors]
    learned = max([*reach, *published], default=100.0)
    means = [statistics.fmean(cell.errors) for cell in cells if cell.errors]
    top = max([learned, *(mean for mean in means if every_mean or mean <= STRETCH * learned)])
    return min(MARGIN * top, 100.0) or 1.0
