"""The marks beside an error in a table: of seeds whose network is cut through or off, and of seeds that learned nothing."""

from collections.abc import Iterable, Sequence
from typing import Any

CUT, UNLEARNED = "†", "‡"
# Layers that a note names.
TOLD = 6


def marks(results: Sequence[dict[str, Any]]) -> str:
    """What stands behind the error of these seeds, with a space before each mark; nothing where all is well."""
    return f" {CUT}" * bool(collapsed(results)) + f" {UNLEARNED}" * bool(unlearned(results))


def notes(cells: Iterable[Sequence[dict[str, Any]]]) -> list[str]:
    """The lines below a table that say what its marks mean there; `cells` are the results of each."""
    cells = list(cells)
    return [line for line in (cut_note(cells), unlearned_note(cells)) if line]


def collapsed(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The seeds in which a layer is on no path from input to output."""
    return [result for result in results if result.get("collapsed")]


def unlearned(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The seeds that only guess after their training though their network is not cut through; records of earlier versions do not tell."""
    return [result for result in results if result.get("learned") is False and result.get("effective_kept") != 0]


def cut_note(cells: Sequence[Sequence[dict[str, Any]]]) -> str | None:
    """The line on networks that are cut through and on layers that are cut off; None where no cell has any."""
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
    return f"{CUT} {'; '.join(parts)}"


def unlearned_note(cells: Sequence[Sequence[dict[str, Any]]]) -> str | None:
    """The line on seeds that learned nothing, with the remedy; None where no cell has any."""
    marked = [results for results in cells if unlearned(results)]
    if not marked:
        return None
    hit, seeds = sum(len(unlearned(results)) for results in marked), sum(len(results) for results in marked)
    return (
        f"{UNLEARNED} learned nothing: in {hit} of these rows' {seeds} seeds the training loss stayed that of guessing, and the errors "
        "count all the same; try schedule.warmup=100"
    )
