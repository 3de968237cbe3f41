"""A published table, whole: each of its numbers in its order, with our cells of it or an empty one."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate

from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell
from snip_cli.report.lines import shown
from snip_cli.report.marks import marks
from snip_cli.report.published import PUBLISHED, Published
from snip_cli.report.records import COLUMNS, Record, listed
from snip_cli.report.table import as_printed, rows, with_std

log = logging.getLogger("snip_cli")

# Tables that are also shown as they are printed: the setting of a row, and that of a column.
LAYOUTS = {"Table 3": ("init.name", "model")}


def table_named(given: str, others: Iterable[str] = ()) -> str:
    """The name of a published table as it is written, such as `Table 2`, or one of `others`, from a name in letters of either case.

    Raises ConfigError where none is called so.
    """
    known = [*sorted({number.source.split(",")[0] for number in PUBLISHED}), *others]
    for name in known:
        if name.lower() == given.strip().lower():
            return name
    raise ConfigError(f"No published table is called '{given}': choose one of {', '.join(known)}.")


def numbers_of(source: str) -> list[Published]:
    """The numbers of a published table, by its name as it is written."""
    return [number for number in PUBLISHED if number.source.startswith(f"{source},")]


def columns_of(numbers: Sequence[Published], records: Sequence[Record]) -> list[str]:
    """The settings, beside the usual columns, that tell the numbers of a table apart, of those that a record has."""
    names = dict.fromkeys(name for number in numbers for name in number.where if name not in COLUMNS)
    varied = [name for name in names if len({number.where.get(name) for number in numbers}) > 1]
    return [name for name in varied if not records or any(name in record.settings for record in records)]


def of_table(
    records: Sequence[Record], numbers: Sequence[Published], source: str, tops: Sequence[Path]
) -> list[Record]:
    """The runs below `tops` that are compared with a number of the table `source`, with a warning where none is, that says what one would need."""
    found = [record for record in records if any(number.is_of(record.settings) for number in numbers)]
    if not found:
        warn_of_none(records, source, tops, _needed(records, numbers))
    return found


def warn_of_none(records: Sequence[Record], source: str, tops: Sequence[Path], hint: str = "") -> None:
    """Say that none of the runs below `tops` is in the table `source`."""
    below = f"below {listed(tops)}"
    found = f"none of the {len(records)} runs {below} is of {source}" if records else f"there is no run {below}"
    log.warning("%s, and what follows is as published%s", found, hint)


def _needed(records: Sequence[Record], numbers: Sequence[Published]) -> str:
    """What the run that is nearest to a number lacks, in words; nothing where there is no run."""
    lacks = [
        (record, {name: value for name, value in number.where.items() if record.settings.get(name) != value})
        for number in numbers
        for record in records
        if not number.quoted
    ]
    if not lacks:
        return ""
    nearest, lacking = min(lacks, key=lambda pair: len(pair[1]))
    settings = [
        f"{name.removesuffix('.name')}={shown(value)}" for name, value in lacking.items() if value != "reference"
    ]
    return f": the nearest, {nearest.folder.name}, would need {' '.join(settings)}"


def with_missing(found: Sequence[Cell], numbers: Sequence[Published]) -> list[Cell]:
    """Our cells of each number, in the order of the numbers; one that no run has been made for gets an empty cell."""
    columns = list(found[0].key) if found else [*COLUMNS, *columns_of(numbers, [])]
    made: list[Cell] = []
    for number in numbers:
        settings = dict(number.where)
        missing = Cell({name: settings.get(name, "") for name in columns}, settings, [], wanted=0)
        made += [cell for cell in found if number.is_of(cell.settings)] or [missing]
    return made


def as_printed_table(cells: Sequence[Cell], layout: tuple[str, str], style: str) -> str:
    """The cells laid out as the paper's table, `ours ± std (paper ± std)`; with a star where ours is not the published protocol."""
    rows_by, columns_by = layout
    table: dict[str, dict[str, str]] = {}
    for cell, numbers in zip(cells, rows(cells), strict=True):
        assert cell.published is not None
        star = " *" * bool(cell.deviations) + marks(cell.results)
        text = f"{with_std(numbers['error'], numbers['std'])} ({as_printed(cell.published)}){star}"
        line = table.setdefault(cell.settings[rows_by], {})
        before = line.get(cell.settings[columns_by])
        line[cell.settings[columns_by]] = f"{before}; {text}" if before else text
    return tabulate(
        [{rows_by.partition(".")[0]: name, **line} for name, line in table.items()], headers="keys", tablefmt=style
    )
