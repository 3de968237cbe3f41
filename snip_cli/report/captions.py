"""What tables and figures say about cells in words: settings, what distinguishes cells, and how much data stands behind them."""

from collections.abc import Sequence
from typing import Any

from snip_cli.report.cells import Cell
from snip_cli.report.published.protocols import full_iterations
from snip_cli.report.records import COLUMNS, Row, Settings

# Settings whose last part says too little.
LABELS = {"method.classes": "class", "method.batch_size": "saliency batch"}
# What an empty list means; elsewhere it means none.
EMPTY = {"method.classes": "all"}


def without(key: Settings, *names: str) -> Row:
    """Return a cell's key without some of its settings."""
    return {name: value for name, value in key.items() if name not in names}


def common_and_own(keys: Sequence[Settings]) -> tuple[str, list[str]]:
    """Return in words what all keys have in common, and what distinguishes each; one key alone has everything in common."""
    names = list(dict.fromkeys(name for key in keys for name in key))
    common = [name for name in names if len({repr(key.get(name)) for key in keys}) == 1]
    own = [[phrase(name, key[name]) for name in names if name in key and name not in common] for key in keys]
    shared = [phrase(name, keys[0][name]) for name in common]
    return ", ".join(filter(None, shared)), [", ".join(filter(None, words)) for words in own]


def phrase(name: str, value: Any) -> str:
    """Return a setting in words: the usual columns by value, a switch that is on by name, any other setting by both."""
    if value == "" or value is False:
        return ""
    if name in COLUMNS:
        return f"{name} {shown(name, value)}" if name == "sparsity" else str(value)
    return label(name) if value is True else f"{label(name)} {shown(name, value)}"


def label(name: str) -> str:
    """Return a setting's name as a reader would call it."""
    own = name.rpartition(".")[2] if not name.endswith(".name") else name.removesuffix(".name")
    return LABELS.get(name, own.replace("_", " "))


def shown(name: str, value: Any) -> str:
    """Return a setting's value in words: numbers without needless digits, a list by its items."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or EMPTY.get(name, "none")
    return f"{value:g}" if isinstance(value, float) else str(value)


def extent(cells: Sequence[Cell], full_seeds: int | None = None) -> str:
    """Return how many seeds and iterations stand behind finished cells, with `short` where either is below the full protocol.

    `full_seeds` is by default that of the published numbers that the cells are compared with.
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
    """Return rising numbers as their first and last."""
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
