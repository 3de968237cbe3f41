"""Cells → the table of test errors: its numbers in full, and its text with marks and notes."""

import statistics
from collections.abc import Collection, Sequence

from tabulate import tabulate

from snip_cli.report.cells import Cell
from snip_cli.report.lengths import short_note
from snip_cli.report.published.snip import Published
from snip_cli.report.records import Row
from snip_cli.report.tables import columns
from snip_cli.report.tables.latex import as_latex, without_constants
from snip_cli.report.tables.verdicts import best_of_last_5, is_short, of_those_that_learned, seeds_in_words, verdict
from snip_cli.runfolder.results import SeedResult

UNKNOWN = "-"
# Of a table in LaTeX.
CAPTION = "Test error (%), mean ± sample standard deviation over n seeds"
# Beside the error of seeds whose network has layers that are cut off, and of seeds that learned nothing.
CUT, UNLEARNED = "†", "‡"
# How many layers a note names.
NAMED = 6


def rows(cells: Sequence[Cell], further: Collection[str] = ()) -> list[Row]:
    """Return the table's rows in full: errors in percent, sample standard deviations, difference = ours − published, of a training that is not short.

    `further` names columns of `columns.FURTHER`.
    """
    return [_row(cell, cell.published) | columns.numbers(cell, further) for cell in cells]


def _row(cell: Cell, published: Published | None) -> Row:
    mean = statistics.fmean(cell.errors) if cell.errors else None
    std = statistics.stdev(cell.errors) if len(cell.errors) > 1 else None
    return {
        **cell.key,
        "reached": cell.reached,
        "effective": cell.effective,
        "n": len(cell.errors),
        "wanted": cell.wanted,
        "error": mean,
        "std": std,
        **of_those_that_learned(cell),
        "best_of_last_5": best_of_last_5(cell),
        "published": published.error if published else None,
        "published_std": published.std if published else None,
        "difference": _difference(cell, published, mean),
        "verdict": verdict(cell),
        "deviations": " ".join(cell.deviations),
    }


def _difference(cell: Cell, published: Published | None, mean: float | None) -> float | None:
    """Return ours − published; None where either is not known, and where a shorter training is behind ours."""
    if mean is None or published is None or is_short(cell, published):
        return None
    return mean - published.error


def as_text(cells: Sequence[Cell], style: str = "simple", further: Collection[str] = ()) -> str:
    """Return the table for reading; `style` is a format of tabulate: `simple`, `github` (Markdown) or `latex_booktabs`.

    `further` names columns of `columns.FURTHER`.

    A published number whose protocol a row does not follow has a star, numbered where rows depart from it in different ways. An error of a
    network with layers that are cut off has a dagger, and one of seeds that learned nothing a double dagger. A line below the table
    explains each mark. In LaTeX the caption says what all rows have in common, instead of columns.
    """
    table, below = for_reading(cells, further)
    if style.startswith("latex"):
        left, constant = without_constants(table, kept=("error (%)",))
        return as_latex(left, f"{CAPTION}{f'; all: {constant}' if constant else ''}.", below)
    text = tabulate(table, headers="keys", tablefmt=style, disable_numparse=True)
    if style == "simple" and (starred := len(stars(cells))):
        below = ["\n".join(below[:starred]), *below[starred:]]
    return "\n\n".join([text, *below])


def for_reading(cells: Sequence[Cell], further: Collection[str] = ()) -> tuple[list[dict[str, str]], list[str]]:
    """Return the rows of the table as texts with their marks, and a line for each mark that explains it, the stars first.

    A column that is empty in all rows is left out.
    """
    numbers = rows(cells)
    other = any(cell.results and cell.sparsity != cell.settings["sparsity"] for cell in cells)
    judged, dead = (any(row[name] not in ("", None) for row in numbers) for name in ("verdict", "error_learned"))
    star = stars(cells)
    table = [
        _shown(row, cell, star.get(tuple(cell.deviations), ""), reached=other, judged=judged, dead=dead)
        | columns.shown(cell, further)
        for row, cell in zip(numbers, cells, strict=True)
    ]
    starred = [f"{mark} not the published protocol: {', '.join(settings)}" for settings, mark in star.items()]
    filled = [name for name in table[0] if any(row[name] for row in table)] if table else []
    return [{name: row[name] for name in filled} for row in table], [*starred, *notes(cells)]


def _shown(row: Row, cell: Cell, star: str, *, reached: bool, judged: bool, dead: bool) -> dict[str, str]:
    star = f" {star}" if star else ""
    return {
        **{name: str(value) for name, value in cell.key.items()},
        **({"reached": f"{cell.reached or cell.sparsity:.4f}" if cell.results else UNKNOWN} if reached else {}),
        "effective": UNKNOWN if row["effective"] is None else f"{row['effective']:.4f}",
        "n": seeds_done(cell),
        "error (%)": with_std(row["error"], row["std"]) + marks(cell.results),
        **({"of seeds that learned (%)": _learned(row)} if dead else {}),
        "best of last 5": UNKNOWN if row["best_of_last_5"] is None else f"{row['best_of_last_5']:.2f}",
        "paper (%)": as_printed(cell.published) + star if cell.published else "",
        "difference": "" if row["difference"] is None else f"{row['difference']:+.2f}",
        **({"verdict": row["verdict"] + (star if row["verdict"] else "")} if judged else {}),
    }


def _learned(row: Row) -> str:
    return with_std(row["error_learned"], row["std_learned"]) if row["unlearned"] else ""


def stars(cells: Sequence[Cell]) -> dict[tuple[str, ...], str]:
    """Return the mark of every distinct set of deviations."""
    found = list(dict.fromkeys(tuple(cell.deviations) for cell in cells if cell.deviations))
    return {each: f"*{number}" if len(found) > 1 else "*" for number, each in enumerate(found, 1)}


def seeds_done(cell: Cell) -> str:
    """Return how many seeds a cell stands for, in words."""
    done = len(cell.errors)
    if cell.wanted == 0:
        return "quoted" if cell.published and cell.published.quoted else "not run yet"
    return str(done) if done == cell.wanted else f"{done} of {cell.wanted}"


def with_std(mean: float | None, std: float | None) -> str:
    """Return mean ± standard deviation in percent; the mean alone without a deviation, and a dash without a mean."""
    shown = UNKNOWN if mean is None else f"{mean:.2f}"
    return shown if std is None else f"{shown} ± {std:.2f}"


def as_printed(published: Published) -> str:
    """Return a published error in percent, with its ± where it has one."""
    return str(published.error) if published.std is None else with_std(published.error, published.std)


def marks(results: Sequence[SeedResult]) -> str:
    """Return the marks of these seeds' error, each after a space; nothing where all is well."""
    return f" {CUT}" * bool(collapsed(results)) + f" {UNLEARNED}" * bool(unlearned(results))


def notes(cells: Sequence[Cell]) -> list[str]:
    """Return the lines below a table that explain its marks, and say of short trainings that they are."""
    return [line for line in (cut_note(cells), unlearned_note(cells), short_note(cells)) if line]


def collapsed(results: Sequence[SeedResult]) -> list[SeedResult]:
    """Return the seeds in which a layer is on no path from input to output."""
    return [result for result in results if result.collapsed]


def unlearned(results: Sequence[SeedResult]) -> list[SeedResult]:
    """Return the seeds that guess after training although their network is connected; records of earlier versions do not say."""
    return [result for result in results if result.learned is False and result.effective_kept != 0]


def cut_through(results: Sequence[SeedResult]) -> list[SeedResult]:
    """Return the seeds in which nothing connects input and output."""
    return [result for result in collapsed(results) if result.effective_kept == 0]


def cut_note(cells: Sequence[Cell]) -> str | None:
    """Return the line on networks that are cut through and layers that are cut off; None where no cell has any."""
    marked = [cell.results for cell in cells if collapsed(cell.results)]
    if not marked:
        return None
    seeds = sum(len(results) for results in marked)
    hit = [result for results in marked for result in collapsed(results)]
    partly = [result for result in hit if result.effective_kept != 0]
    parts = []
    if len(partly) < len(hit):
        through = len(hit) - len(partly)
        named = seeds_in_words(cells, cut_through)
        parts.append(
            f"cut through: in {through} of these rows' {seeds} seeds nothing connects input and output ({named})"
        )
    if partly:
        names = list(dict.fromkeys(name for result in partly for name in result.collapsed))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        named = ", ".join(names[:NAMED])
        parts.append(f"cut off: in {len(partly)} of these rows' {seeds} seeds no path leads through {named}{more}")
    return f"{CUT} {'; '.join(parts)}"


def unlearned_note(cells: Sequence[Cell]) -> str | None:
    """Return the line on seeds that learned nothing, with the remedy; None where no cell has any."""
    marked = [cell.results for cell in cells if unlearned(cell.results)]
    if not marked:
        return None
    hit, seeds = sum(len(unlearned(results)) for results in marked), sum(len(results) for results in marked)
    return (
        f"{UNLEARNED} learned nothing: in {hit} of these rows' {seeds} seeds the training loss stayed that of guessing "
        f"({seeds_in_words(cells, unlearned)}), and the errors count all the same; try schedule.warmup=100"
    )
