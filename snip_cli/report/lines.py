"""Cells → the lines of a figure: which belong together, what tells one from the others, and how much stands behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

from snip_cli.report.cells import Cell
from snip_cli.report.protocols import full_iterations
from snip_cli.report.records import COLUMNS

# Where the last part of a setting's name says too little.
CALLED = {"method.classes": "class", "method.batch_size": "saliency batch"}


def lines(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The finished cells that belong on one curve, by rising sparsity: alike in all of their key but the sparsity.

    Every method's line starts from its reference, which is alike in all that determines a reference; references that no line starts
    from stand alone.
    """
    finished = [cell for cell in cells if cell.errors]
    references = [cell for cell in finished if cell.settings["method"] == "reference"]
    made: dict[tuple[str, ...], list[Cell]] = {}
    for cell in finished:
        if cell not in references:
            made.setdefault(tuple(repr(v) for k, v in cell.key.items() if k != "sparsity"), []).append(cell)
    used = []
    for line in made.values():
        starts = [reference for reference in references if all(_starts(reference, cell) for cell in line)]
        used += starts
        line += starts
        line.sort(key=lambda cell: cell.sparsity)
    return [*made.values(), *([reference] for reference in references if reference not in used)]


def _starts(reference: Cell, cell: Cell) -> bool:
    """Whether a reference is alike in all that determines it; of a trained network that was pruned, in what it was trained with."""
    own = {name: value for name, value in reference.settings.items() if name not in ("method", "sparsity")}
    dense = {name.removeprefix("dense_"): value for name, value in cell.settings.items() if name.startswith("dense_")}
    return all((cell.settings | dense).get(name) == value for name, value in own.items())


def without_sparsity(key: Mapping[str, Any]) -> dict[str, Any]:
    """What of a cell's key is the same at any sparsity."""
    return {name: value for name, value in key.items() if name != "sparsity"}


def told_apart(keys: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """What keys have in common, and what tells each from the others, in words; one key alone has all of itself in common."""
    names = list(dict.fromkeys(name for key in keys for name in key))
    common = [name for name in names if len({repr(key.get(name)) for key in keys}) == 1]
    own = [[word(name, key[name]) for name in names if name in key and name not in common] for key in keys]
    shared = [word(name, keys[0][name]) for name in common]
    return ", ".join(filter(None, shared)), [", ".join(filter(None, words)) for words in own]


def word(name: str, value: Any) -> str:
    """A setting in words: the usual columns by their value, what is switched on by its name, and any other by both."""
    if value == "" or value is False:
        return ""
    if name in COLUMNS:
        return f"{name} {shown(value)}" if name == "sparsity" else str(value)
    return called(name) if value is True else f"{called(name)} {shown(value)}"


def called(name: str) -> str:
    """What a reader calls a setting."""
    own = name.rpartition(".")[2] if not name.endswith(".name") else name.removesuffix(".name")
    return CALLED.get(name, own.replace("_", " "))


def shown(value: Any) -> str:
    """A setting's value: numbers with no more digits than they need, and of a list what it holds; an empty one restricts nothing."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "all"
    return f"{value:g}" if isinstance(value, float) else str(value)


def extent(cells: Sequence[Cell], full_seeds: int | None = None) -> str:
    """How many seeds and iterations stand behind finished cells, and `short` where either is below the full protocol.

    The full number of seeds is that of the published numbers that the cells stand for, where it is not given.
    """
    counts = sorted({len(cell.errors) for cell in cells})
    lengths = sorted({cell.settings["schedule.iterations"] for cell in cells})
    wanted = full_seeds or max(cell.published.seeds if cell.published else 1 for cell in cells)
    full = [(cell.settings["schedule.iterations"], full_iterations(cell.settings)) for cell in cells]
    short = counts[0] < wanted or any(own < whole for own, whole in full)
    if lengths == [0]:
        return f"n = {span(counts)}, not trained"
    return f"{'short: ' * short}n = {span(counts)}, {span(lengths)} iterations"


def span(counts: Sequence[int]) -> str:
    """Rising numbers in words, by the first and the last."""
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
