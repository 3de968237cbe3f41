"""Where a verdict on a published number means something, and what seeds that learned nothing do to a mean."""

import statistics
from collections.abc import Callable, Sequence

from snip_cli.report.cells import Cell
from snip_cli.report.names import short_names
from snip_cli.report.published.protocols import QUOTED_ITERATIONS, full_iterations
from snip_cli.report.published.snip import Published
from snip_cli.report.records import Row, Settings
from snip_cli.runfolder.results import SeedResult

# A standard deviation over fewer seeds is mostly noise.
FEWEST_SEEDS = 3
# The number of evaluations that `best of last 5` needs.
EVALUATIONS = 5
# How many rows a note names.
NAMED = 4


def verdict(cell: Cell) -> str:
    """Return the verdict on the published number.

    It is empty for a short training, for fewer than three seeds, and where a seed learned nothing.
    """
    published, errors = cell.published, cell.errors
    if published is None or len(errors) < FEWEST_SEEDS or is_short(cell, published) or guessing(cell.results):
        return ""
    return published.verdict(statistics.fmean(errors), statistics.stdev(errors))


def is_short(cell: Cell, published: Published) -> bool:
    """Return whether a cell was trained for fewer iterations than the published number needs."""
    needed = published.protocol.get("schedule.iterations") or full_iterations(cell.settings)
    if published.quoted:  # each quoted method trains on a schedule of its own
        needed = QUOTED_ITERATIONS.get(cell.settings["method"], needed)
    return bool(cell.settings["schedule.iterations"] < needed)


def best_of_last_5(cell: Cell) -> float | None:
    """Return the best of the last five evaluations, mean over the seeds; None where a training had fewer evaluations."""
    best = cell.errors_best_of_last_5
    return statistics.fmean(best) if best and evaluations(cell.settings) >= EVALUATIONS else None


def evaluations(settings: Settings) -> int:
    """Return how many evaluations a training has: at every multiple of `schedule.evaluate_every`, and at the last iteration."""
    iterations, every = settings["schedule.iterations"], settings["schedule.evaluate_every"]
    skipped: int = settings.get("method.rewind", 0) // every
    return -(-iterations // every) - skipped


def guessing(results: Sequence[SeedResult]) -> list[SeedResult]:
    """Return the seeds that guess after training, connected or not; records of earlier versions do not say."""
    return [result for result in results if result.learned is False]


def of_those_that_learned(cell: Cell) -> Row:
    """Return which seeds learned nothing, and mean and sample standard deviation of the error without them; None where there are none."""
    dead = {result.seed for result in guessing(cell.results)}
    errors = [result.test_error for result in cell.results if result.seed not in dead]
    return {
        "unlearned": " ".join(map(str, sorted(dead))),
        "error_learned": statistics.fmean(errors) if dead and errors else None,
        "std_learned": statistics.stdev(errors) if dead and len(errors) > 1 else None,
    }


def seeds_in_words(cells: Sequence[Cell], of: Callable[[Sequence[SeedResult]], Sequence[SeedResult]]) -> str:
    """Return in words the seeds of each cell that `of` picks, as in `seed 1 of snip, sparsity 0.98`; at most four cells by name."""
    named = []
    for cell, name in zip(cells, short_names([cell.key for cell in cells]), strict=True):
        seeds = [str(result.seed) for result in of(cell.results)]
        if seeds:
            counted = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(seeds)}"
            named.append(f"{counted} of {name}" if name else counted)
    more = f"; and of {len(named) - NAMED} more rows" if len(named) > NAMED else ""
    return "; ".join(named[:NAMED]) + more
