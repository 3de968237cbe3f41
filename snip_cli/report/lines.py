"""Cells → the lines of a figure: which belong together, and what tells one from the others."""

from collections.abc import Sequence

from snip_cli.report.table import Cell


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
