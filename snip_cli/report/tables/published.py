"""A published table: each of its numbers, in its order, with our cells beside it or an empty one."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from snip_cli.errors import ConfigError
from snip_cli.report.captions import shown
from snip_cli.report.cells import Cell
from snip_cli.report.published.snip import PUBLISHED, Published
from snip_cli.report.records import COLUMNS, Record, listed
from snip_cli.report.tables.errors import as_printed, marks, rows, with_std
from snip_cli.report.tables.latex import in_style

log = logging.getLogger("snip_cli")

# Tables that are also shown in the paper's layout: the setting of its rows, and that of its columns.
LAYOUTS = {"Table 3": ("init.name", "model")}


def table_named(given: str, others: Iterable[str] = ()) -> str:
    """Return the name of a published table, such as `Table 2`, or one of `others`, for a name in upper or lower case.

    Raises ConfigError where there is no such table.
    """
    known = [*sorted({number.source.split(",")[0] for number in PUBLISHED}), *others]
    for name in known:
        if name.lower() == given.strip().lower():
            return name
    raise ConfigError(f"There is no published table '{given}': choose one of {', '.join(known)}.")


def numbers_of(source: str) -> list[Published]:
    """Return the numbers of a published table, by its name as `table_named` returns it."""
    return [number for number in PUBLISHED if number.source.startswith(f"{source},")]


def columns_of(numbers: Sequence[Published], records: Sequence[Record]) -> list[str]:
    """Return the settings beside the usual columns that distinguish the numbers of a table, as far as a record has them."""
    names = dict.fromkeys(name for number in numbers for name in number.where if name not in COLUMNS)
    varied = [name for name in names if len({number.where.get(name) for number in numbers}) > 1]
    return [name for name in varied if not records or any(name in record.settings for record in records)]


def of_table(
    records: Sequence[Record], numbers: Sequence[Published], source: str, tops: Sequence[Path]
) -> list[Record]:
    """Return the runs that are compared with a number of the table `source`; where none is, warn and name what the nearest run lacks.

    `tops` are the folders below which the runs were found.
    """
    found = [record for record in records if any(number.is_of(record.settings) for number in numbers)]
    if not found:
        warn_of_none(records, source, tops, _needed(records, numbers))
    return _without_other_references(found, numbers) if any(number.quoted for number in numbers) else found


def _without_other_references(records: Sequence[Record], numbers: Sequence[Published]) -> list[Record]:
    """Return the records without the references that only a quoted method needed: of each number, those nearest to its protocol stay."""
    for number in numbers:
        if number.where["method"] == "reference":
            of_it = [record for record in records if number.is_of(record.settings)]
            departures = [len(number.deviations(record.settings)) for record in of_it]
            others = [r for r, count in zip(of_it, departures, strict=True) if count > min(departures)]
            records = [record for record in records if record not in others]
    return list(records)


def warn_of_none(records: Sequence[Record], source: str, tops: Sequence[Path], hint: str = "") -> None:
    """Warn that none of the runs below `tops` is in the table `source`."""
    below = f"below {listed(tops)}"
    found = f"none of the {len(records)} runs {below} is of {source}" if records else f"there is no run {below}"
    log.warning("%s, so the table shows published numbers only%s", found, hint)


def _needed(records: Sequence[Record], numbers: Sequence[Published]) -> str:
    """Return in words what the run nearest to a number lacks; nothing where there is no run."""
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
        f"{name.removesuffix('.name')}={shown(name, value)}" for name, value in lacking.items() if value != "reference"
    ]
    return f": the nearest, {nearest.name}, would need {' '.join(settings)}"


def with_missing(found: Sequence[Cell], numbers: Sequence[Published]) -> list[Cell]:
    """Return our cells for each number, in the order of the numbers; a number without a run gets an empty cell."""
    columns = list(found[0].key) if found else [*COLUMNS, *columns_of(numbers, [])]
    made: list[Cell] = []
    for number in numbers:
        settings = dict(number.where)
        missing = Cell({name: settings.get(name, "") for name in columns}, settings, [], wanted=0)
        made += [cell for cell in found if number.is_of(cell.settings)] or [missing]
    return made


def as_printed_table(cells: Sequence[Cell], layout: tuple[str, str], style: str) -> str:
    """Return the cells in the paper's layout, `ours ± std (paper ± std)`, with a star where ours is not the published protocol."""
    rows_by, columns_by = layout
    table: dict[str, dict[str, str]] = {}
    for cell, numbers in zip(cells, rows(cells), strict=True):
        assert cell.published is not None
        star = " *" * bool(cell.deviations) + marks(cell.results)
        text = f"{with_std(numbers['error'], numbers['std'])} ({as_printed(cell.published)}){star}"
        line = table.setdefault(cell.settings[rows_by], {})
        before = line.get(cell.settings[columns_by])
        line[cell.settings[columns_by]] = f"{before}; {text}" if before else text
    lines = [{rows_by.partition(".")[0]: name, **line} for name, line in table.items()]
    return in_style(
        lines, style, "Test error (%), mean ± sample standard deviation over seeds, and the paper's in brackets."
    )
