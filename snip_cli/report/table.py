"""Cells → a table: its numbers as they are, and as text."""

import statistics
from collections.abc import Sequence
from typing import Any

from tabulate import LATEX_ESCAPE_RULES, tabulate

from snip_cli.report.cells import Cell
from snip_cli.report.marks import marks, notes
from snip_cli.report.published import Published

UNFINISHED = "-"


def rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The table's rows with numbers as they are: errors in percent, sample standard deviations, difference = ours − published."""
    table = []
    for cell in cells:
        mean = statistics.fmean(cell.errors) if cell.errors else None
        std = statistics.stdev(cell.errors) if len(cell.errors) > 1 else None
        published = cell.published
        beside = mean is not None and published is not None
        table.append(
            {
                **cell.key,
                "reached": cell.reached,
                "effective": cell.effective,
                "n": len(cell.errors),
                "wanted": cell.wanted,
                "error": mean,
                "std": std,
                "best_of_last_5": statistics.fmean(cell.errors_best) if cell.errors_best else None,
                "published": published.error if published else None,
                "published_std": published.std if published else None,
                "difference": mean - published.error if beside else None,
                "verdict": published.verdict(mean, std) if beside else "",
                "deviations": " ".join(cell.deviations),
            }
        )
    return table


def as_text(cells: Sequence[Cell], style: str = "simple") -> str:
    """The rows for reading; `style` is a format of tabulate: `simple`, `github` (Markdown) or `latex_booktabs`.

    A published number whose protocol a row does not follow has a star, numbered where rows differ from it in different ways, and a line
    below the table says in what; an error of a network that is cut through, or of which a layer is cut off, has a dagger and a line too,
    and one of seeds that learned nothing another.
    """
    other = any(cell.results and cell.sparsity != cell.settings["sparsity"] for cell in cells)
    judged = any(row["verdict"] for row in rows(cells))
    star = stars(cells)
    table = [
        _shown(row, cell, star.get(tuple(cell.deviations), ""), reached=other, judged=judged)
        for row, cell in zip(rows(cells), cells, strict=True)
    ]
    text = tabulate(table, headers="keys", tablefmt=style, disable_numparse=True)
    told = [f"{mark} not the published protocol: {', '.join(settings)}" for settings, mark in star.items()]
    below = [*told, *notes(cell.results for cell in cells)]
    if style.startswith("latex"):
        below = [line.translate(str.maketrans(LATEX_ESCAPE_RULES)) for line in below]
    elif style == "simple" and told:
        below = ["\n".join(told), *below[len(told) :]]
    return "\n\n".join([text, *below])


def stars(cells: Sequence[Cell]) -> dict[tuple[str, ...], str]:
    """The mark of every set of deviations."""
    found = list(dict.fromkeys(tuple(cell.deviations) for cell in cells if cell.deviations))
    return {each: f"*{number}" if len(found) > 1 else "*" for number, each in enumerate(found, 1)}


def seeds_done(cell: Cell) -> str:
    """How many seeds a cell stands for, in words."""
    done = len(cell.errors)
    if cell.wanted == 0:
        return "quoted" if cell.published and cell.published.quoted else "not run yet"
    return str(done) if done == cell.wanted else f"{done} of {cell.wanted}"


def with_std(mean: float | None, std: float | None) -> str:
    """Mean ± standard deviation in percent; the mean alone where there is none, and a dash where there is no mean."""
    shown = UNFINISHED if mean is None else f"{mean:.2f}"
    return shown if std is None else f"{shown} ± {std:.2f}"


def as_printed(published: Published) -> str:
    """A published error in percent, with its ± where there is one."""
    return str(published.error) if published.std is None else with_std(published.error, published.std)


def _shown(row: dict[str, Any], cell: Cell, star: str, *, reached: bool, judged: bool) -> dict[str, str]:
    star = f" {star}" if star else ""
    return {
        **{name: str(value) for name, value in cell.key.items()},
        **({"reached": f"{cell.reached or cell.sparsity:.4f}" if cell.results else UNFINISHED} if reached else {}),
        "effective": UNFINISHED if row["effective"] is None else f"{row['effective']:.4f}",
        "n": seeds_done(cell),
        "error (%)": with_std(row["error"], row["std"]) + marks(cell.results),
        "best of last 5": UNFINISHED if row["best_of_last_5"] is None else f"{row['best_of_last_5']:.2f}",
        "paper (%)": as_printed(cell.published) + star if cell.published else "",
        "difference": "" if row["difference"] is None else f"{row['difference']:+.2f}",
        **({"verdict": row["verdict"] + (star if row["verdict"] else "")} if judged else {}),
    }
