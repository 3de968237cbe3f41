"""Columns of the table of test errors that are shown on request: the sparsity in weights alone, and what a result cost."""

import statistics
from collections.abc import Collection
from typing import Any

from snip_cli.report.cells import Cell
from snip_cli.report.records import Row
from snip_cli.runfolder.cost import Cost

FURTHER = ("weights", "cost")
UNKNOWN = "–"
STAGES = ("before", "during", "after")
PARTS = ("before", "pruning", "during", "after")


def numbers(cell: Cell, names: Collection[str]) -> Row:
    """Return the further columns of a cell in full, means over the seeds; None where a record does not have the number."""
    row: Row = {}
    if "weights" in names:
        row["weights_sparsity"] = weights_sparsity(cell)
    if "cost" in names:
        for stage in STAGES:
            row[f"iterations_{stage}"] = mean(cell, f"iterations_{stage}")
        row["prunings"] = mean(cell, "prunings")
        row["hyperparameters"] = hyperparameters(cell)
        for part in PARTS:
            row[f"seconds_{part}"] = mean(cell, f"seconds_{part}")
    return row


def shown(cell: Cell, names: Collection[str]) -> dict[str, str]:
    """Return the further columns of a cell for reading."""
    row = numbers(cell, names)
    columns: dict[str, str] = {}
    if "weights" in names:
        sparsity = row["weights_sparsity"]
        columns["in weights"] = UNKNOWN if sparsity is None else f"{sparsity:.4f}"
    if "cost" in names:
        columns["iterations before + during + after"] = joined([row[f"iterations_{stage}"] for stage in STAGES])
        columns["prunings"] = joined([row["prunings"]])
        columns["hyperparameters"] = joined([row["hyperparameters"]])
        columns["seconds before + pruning + during + after"] = joined([row[f"seconds_{part}"] for part in PARTS])
    return columns


def joined(values: list[float | None]) -> str:
    """Return numbers as whole ones with a plus between them; a dash where none is known."""
    if all(value is None for value in values):
        return UNKNOWN
    return " + ".join(UNKNOWN if value is None else f"{value:,.0f}" for value in values)


def weights_sparsity(cell: Cell) -> float | None:
    """Return the fraction of the weights, without biases, that is removed, mean over the seeds; None where no record has the counts."""
    kept = [r.weights_kept / r.weights_total for r in cell.results if r.weights_total and r.weights_kept is not None]
    return 1 - statistics.fmean(kept) if kept else None


def costs(cell: Cell) -> list[Cost]:
    """Return the cost of each seed that has one; records of earlier versions have none."""
    return [result.cost for result in cell.results if result.cost is not None]


def mean(cell: Cell, field: str) -> float | None:
    """Return a number of the cost, mean over the seeds that have it; None where none has."""
    values: list[Any] = [getattr(cost, field) for cost in costs(cell)]
    known = [value for value in values if value is not None]
    if len(set(known)) == 1:  # as it is, a whole number where it is one
        return known[0]
    return statistics.fmean(known) if known else None


def hyperparameters(cell: Cell) -> int | None:
    """Return how many hyperparameters the method has beyond the sparsity; None where no record says."""
    return next((len(cost.hyperparameters) for cost in costs(cell)), None)
