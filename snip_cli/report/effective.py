"""What is told of a pruned network's paths from input to output, over the seeds of a cell or a table."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

MARK = "†"
# Layers that a note names.
TOLD = 6


def effective_sparsity(results: Sequence[dict[str, Any]]) -> float | None:
    """The fraction of the prunable parameters that is removed or on no path from input to output, mean over the seeds that tell it.

    None where none does: records of earlier versions do not, nor do those of networks that cannot be followed.
    """
    told = [result for result in results if result.get("effective_kept") is not None]
    left = [result["effective_kept"] / sum(layer["total"] for layer in result["layers"]) for result in told]
    return 1 - statistics.fmean(left) if left else None


def collapsed(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The seeds in which a layer is on no path from input to output."""
    return [result for result in results if result.get("collapsed")]


def note(cells: Iterable[Sequence[dict[str, Any]]]) -> str | None:
    """The line below a table that says what the mark means there; None where no cell has it. `cells` are the results of each."""
    marked = [results for results in cells if collapsed(results)]
    if not marked:
        return None
    seeds = sum(len(results) for results in marked)
    hit = [result for results in marked for result in collapsed(results)]
    partly = [result for result in hit if result["effective_kept"] != 0]
    parts = []
    if len(partly) < len(hit):
        parts.append(
            f"cut through: in {len(hit) - len(partly)} of these rows' {seeds} seeds nothing connects input and output"
        )
    if partly:
        names = list(dict.fromkeys(name for result in partly for name in result["collapsed"]))
        more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
        parts.append(
            f"cut off: in {len(partly)} of these rows' {seeds} seeds no path leads through {', '.join(names[:TOLD])}{more}"
        )
    return f"{MARK} {'; '.join(parts)}"
