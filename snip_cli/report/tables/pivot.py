"""The table of test errors as papers print it: a row for each value of one setting and a column for each value of another."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from snip_cli.errors import ConfigError
from snip_cli.registry import nearest
from snip_cli.report.captions import common_and_own, extent, label, phrase, shown, without
from snip_cli.report.cells import Cell
from snip_cli.report.names import short_names
from snip_cli.report.records import Record
from snip_cli.report.tables.errors import marks, notes, with_std
from snip_cli.report.tables.latex import as_latex

# Errors of different networks, data sets or sparsities are never compared.
COMPARED_WITHIN = ("model", "dataset", "sparsity")


@dataclass(frozen=True)
class Pivot:
    """Cells in rows and columns.

    Attributes:
        labels: for each row the settings that name it, in words, by their names.
        columns: the value of each column, in words.
        grid: the cell in each row and column, None where there is none.
        best: (row, column) of each cell whose mean is the lowest of those that it is compared with.
    """

    columns_by: str
    labels: Sequence[dict[str, str]]
    columns: Sequence[str]
    grid: Sequence[Sequence[Cell | None]]
    best: frozenset[tuple[int, int]]
    caption: str


def axes_of(given: str, records: Sequence[Record]) -> tuple[str, str]:
    """Return the settings of rows and columns from `ROWS:COLUMNS`. Raises ConfigError where it names no two settings of these runs."""
    names = [name.strip() for name in given.split(":")]
    known = sorted({name for record in records for name in record.settings})
    if len(names) != 2 or names[0] == names[1]:
        raise ConfigError(f"--pivot takes two settings, ROWS:COLUMNS, such as method:sparsity: got '{given}'.")
    for name in names if records else ():
        if name not in known:
            raise ConfigError(
                f"No run has a setting '{name}'{nearest(name, known)}; --pivot takes: {', '.join(known)}."
            )
    return names[0], names[1]


def pivot(cells: Sequence[Cell], rows_by: str, columns_by: str, *, own_schedules: bool = False) -> Pivot:
    """Return the finished cells by two of their settings. Any other setting in which they differ distinguishes rows too.

    With `own_schedules`, the cells are those of `with_own_schedules`, and a row is named in one column.
    The best are compared over the methods where these are the columns, and within a column otherwise. Raises ConfigError where no
    cell is finished.
    """
    cells = [cell for cell in cells if cell.errors]
    if not cells:
        raise ConfigError("There is nothing to put into a table: no run is finished.")
    named_by = [rows_by, *_others(cells, rows_by, columns_by)]
    row_keys = list(dict.fromkeys(_key(cell, named_by) for cell in cells))
    values = sorted({_key(cell, [columns_by]): cell.key[columns_by] for cell in cells}.items(), key=_numbers_first)
    column_keys = [key for key, _ in values]
    grid: list[list[Cell | None]] = [[None] * len(column_keys) for _ in row_keys]
    for cell in cells:
        grid[row_keys.index(_key(cell, named_by))][column_keys.index(_key(cell, [columns_by]))] = cell
    first = [next(cell for cell in row if cell) for row in grid]
    labels = [{label(name): shown(name, cell.key[name]) for name in named_by} for cell in first]
    if own_schedules:
        names = short_names([without(cell.key, columns_by) for cell in first])
        labels = [
            {label(rows_by): name or shown(rows_by, cell.key[rows_by])} for name, cell in zip(names, first, strict=True)
        ]
    common, _ = common_and_own([without(cell.key, columns_by, *named_by) for cell in cells])
    compared = "row" if columns_by == "method" else "column"
    best = _best(grid, by_row=compared == "row")
    caption = ". ".join(
        [
            "Test error (%), mean ± sample standard deviation over seeds",
            ", ".join(filter(None, (common, extent(cells)))),
            *([f"Bold: the lowest mean of a {compared}"] if best else []),
        ]
    )
    return Pivot(columns_by, labels, [shown(columns_by, value) for _, value in values], grid, best, f"{caption}.")


def as_pivot(made: Pivot, style: str) -> str:
    """Return the table for reading; `style` is `simple`, `github` (Markdown) or a format of LaTeX."""
    below = notes([cell for row in made.grid for cell in row if cell])
    texts = [[_text(cell) for cell in row] for row in made.grid]
    if style.startswith("latex"):
        rows = [
            names | dict(zip(made.columns, row, strict=True)) for names, row in zip(made.labels, texts, strict=True)
        ]
        bold = {(row, made.columns[column]) for row, column in made.best}
        return as_latex(rows, made.caption, below, bold=bold, over=(label(made.columns_by), len(made.labels[0])))
    around = ("**", "**") if style == "github" else ("[", "]")
    for row, column in made.best:
        texts[row][column] = texts[row][column].join(around)
    heads = [phrase(made.columns_by, value) for value in made.columns]
    rows = [names | dict(zip(heads, row, strict=True)) for names, row in zip(made.labels, texts, strict=True)]
    caption = made.caption if style == "github" else made.caption.replace("Bold:", "[ ]:")
    return "\n\n".join([tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True), caption, *below])


def _others(cells: Sequence[Cell], rows_by: str, columns_by: str) -> list[str]:
    """Return the settings that distinguish rows beside `rows_by`; a reference, which lacks those of methods, adds one only if it must."""
    names = [name for name in cells[0].key if name not in (rows_by, columns_by)]
    pruned = [cell for cell in cells if cell.settings["method"] != "reference"]
    others = [name for name in names if len({repr(cell.key[name]) for cell in pruned}) > 1]
    places = {_key(cell, [rows_by, columns_by, *others]) for cell in cells}
    return others if len(places) == len(cells) else [n for n in names if len({repr(c.key[n]) for c in cells}) > 1]


def _key(cell: Cell, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(cell.key[name]) for name in names)


def _numbers_first(item: tuple[tuple[str, ...], object]) -> tuple[bool, float, bool]:
    """Return a key that sorts numbers before words, and of the words the reference first; others keep their order."""
    value = item[1]
    number = value if isinstance(value, int | float) else 0.0
    return not isinstance(value, int | float), number, value != "reference"


def _text(cell: Cell | None) -> str:
    if not cell:
        return ""
    std = statistics.stdev(cell.errors) if len(cell.errors) > 1 else None
    seeds = f" ({len(cell.errors)} of {cell.wanted})" if len(cell.errors) < cell.wanted else ""
    return with_std(statistics.fmean(cell.errors), std) + seeds + marks(cell.results)


def _best(grid: Sequence[Sequence[Cell | None]], *, by_row: bool) -> frozenset[tuple[int, int]]:
    compared: dict[tuple[object, ...], dict[tuple[int, int], float]] = {}
    for row, cells in enumerate(grid):
        for column, cell in enumerate(cells):
            if cell:
                group = (row if by_row else column, *(cell.settings[name] for name in COMPARED_WITHIN))
                # As printed, so that no one of two equal numbers is called better.
                compared.setdefault(group, {})[row, column] = round(statistics.fmean(cell.errors), 2)
    several = [means for means in compared.values() if len(means) > 1]
    return frozenset(place for means in several for place, mean in means.items() if mean == min(means.values()))
