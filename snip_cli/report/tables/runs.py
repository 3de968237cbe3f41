"""Run folders as a list: the settings in which they differ, their state, age and size."""

from collections.abc import Sequence

from tabulate import tabulate

from snip_cli.report.cells import differing
from snip_cli.report.names import short_names
from snip_cli.report.records import COLUMNS, Record, Row, record_of
from snip_cli.runfolder.state import RunState
from snip_cli.runtime.words import duration, size


def run_rows(states: Sequence[RunState]) -> list[Row]:
    """Return a row per folder, in full: age in seconds and size in bytes."""
    rows: list[Row] = []
    for state, settings in zip(states, differences(states), strict=True):
        seeds = (len(state.run.results), state.run.config.seeds) if state.run else (None, None)
        rows.append(
            {
                "folder": state.folder,
                "settings": settings,
                "state": state.state,
                "seeds_finished": seeds[0],
                "seeds_wanted": seeds[1],
                "age": round(state.age),
                "size": state.size,
            }
        )
    return rows


def runs_text(states: Sequence[RunState], style: str = "simple") -> str:
    """Return the list for reading; `style` is a format of tabulate."""
    rows = [
        {
            "folder": str(state.folder),
            "settings": settings,
            "state": state.state,
            "age": duration(state.age),
            "size": size(state.size),
        }
        for state, settings in zip(states, differences(states), strict=True)
    ]
    aligned = ("left", "left", "left", "right", "right")
    return tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True, colalign=aligned)


def differences(states: Sequence[RunState]) -> list[str]:
    """Return in words what distinguishes each run from the others; nothing for a damaged one."""
    records = {number: record_of(state.run) for number, state in enumerate(states) if state.run}
    names = [*COLUMNS, *differing(list(records.values()), COLUMNS)]
    keys = [_key(record, names) for record in records.values()]
    words = dict(zip(records, short_names(keys), strict=True))
    return [words.get(number, "") for number in range(len(states))]


def _key(record: Record, names: Sequence[str]) -> Row:
    return {name: record.settings.get(name, "") for name in names} | {"seed": record.wanted[0]}
