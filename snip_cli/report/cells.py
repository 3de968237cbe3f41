"""Records → cells over seeds, and cells → lines over sparsities. Nothing is averaged over a setting that a cell's key does not name."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from snip_cli.config.sections import AUTO
from snip_cli.errors import ConfigError
from snip_cli.registry import nearest
from snip_cli.report.published.protocols import DATASETS
from snip_cli.report.published.snip import PUBLISHED, Published
from snip_cli.report.records import (
    COLUMNS,
    Record,
    Settings,
    effective_sparsity,
    merged_results,
    reached_sparsity,
)
from snip_cli.runfolder.results import SeedResult

# A reached sparsity that is this near to the requested one counts as the same: half a parameter of a thousand.
ROUNDING = 0.0005


@dataclass(frozen=True)
class Cell:
    """Replicates that differ in nothing but their seed, the run folders that hold them, and the name of their schedule."""

    key: Settings
    settings: Settings
    results: Sequence[SeedResult]
    wanted: int
    folders: Sequence[Path] = field(default_factory=list)
    schedule: str = ""

    @property
    def errors(self) -> list[float]:
        """The test error of each seed's last evaluation."""
        return [result.test_error for result in self.results]

    @property
    def errors_best_of_last_5(self) -> list[float]:
        """The best of each seed's last five evaluations, which the released code of SNIP reports."""
        best = [result.test_error_best_of_last_5 for result in self.results]
        return [error for error in best if error is not None]

    @property
    def reached(self) -> float | None:
        """The sparsity that was reached, mean over the seeds; None where no result has counts."""
        return reached_sparsity(self.results)

    @property
    def effective(self) -> float | None:
        """The effective sparsity, mean over the seeds; None where no result has it."""
        return effective_sparsity(self.results)

    @property
    def sparsity(self) -> float:
        """The requested sparsity, or the reached one where the method missed the request by more than rounding."""
        asked, reached = self.settings["sparsity"], self.reached
        as_asked = asked != AUTO and (reached is None or abs(reached - asked) < ROUNDING)
        return asked if as_asked else reached or 0.0

    @property
    def published(self) -> Published | None:
        """The published number that the cell is compared with."""
        return next((number for number in PUBLISHED if number.is_of(self.settings)), None)

    @property
    def deviations(self) -> list[str]:
        """Where the cell departs from the published protocol: settings, and too few seeds; nothing without a published number or a run."""
        if not self.published or not self.wanted:
            return []
        n, full = len(self.errors), self.published.seeds
        return [*self.published.deviations(self.settings), *([f"n={n} of {full}"] if 0 < n < full else [])]


def cells(records: Sequence[Record], by: Sequence[str] = COLUMNS, *, across_methods: bool = True) -> list[Cell]:
    """Group records over seeds by the settings in `by` and by every other setting in which they differ.

    Without `across_methods` a setting counts only if two records of the same method differ in it, as where each has a schedule of its own.
    A seed that several folders hold counts once. Raises ConfigError where no record has a setting of that name.
    """
    if not records:
        return []
    known = sorted({name for record in records for name in record.settings})
    for name in by:
        if name not in known:
            raise ConfigError(f"No run has a setting '{name}'{nearest(name, known)}; --by takes: {', '.join(known)}.")
    names = [*by, *differing(records, by, across_methods=across_methods)]
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(repr(record.settings.get(name)) for name in names), []).append(record)
    made = [_cell(group, names) for group in groups.values()]
    return sorted(
        made,
        key=lambda cell: [_order(cell.key[name]) for name in sorted(names, key=lambda n: n in ("method", "sparsity"))],
    )


def with_own_schedules(cells: Sequence[Cell], by: Sequence[str] = COLUMNS) -> list[Cell]:
    """Return the cells by method, with keys for reading where each method has a schedule of its own.

    Of the settings outside `by`, a key has those in which it differs from another of the same method, model and data set. Others are blank.
    """
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: _order(cell.settings["method"])):
        groups.setdefault(tuple(cell.settings[name] for name in COLUMNS if name != "sparsity"), []).append(cell)
    made = []
    for group in groups.values():
        alike = [n for n in group[0].key if n not in by and len({repr(cell.key[n]) for cell in group}) == 1]
        made += [replace(cell, key={**cell.key, **dict.fromkeys(alike, "")}) for cell in group]
    return made


def _order(value: Any) -> tuple[bool, int, Any]:
    """Return a key that sorts numbers before words, and among the words first the reference and the paper's data sets in its order."""
    number = isinstance(value, int | float)
    first = ("reference", *DATASETS)
    return (not number, first.index(value) if value in first else len(first), value if number else str(value))


def differing(records: Sequence[Record], by: Sequence[str], *, across_methods: bool = True) -> list[str]:
    """Return the settings outside `by` in which two records differ that a reader would compare.

    Records that agree in all of `by` but the sparsity are compared in every setting. Records of different methods are compared in every
    setting that does not belong to the method, such as the schedule, unless `across_methods` is false. A setting that follows from a choice that is shown, as `init.std`
    may follow from `init.name`, is left out.
    """
    along = _differing(records, [name for name in by if name != "sparsity"])
    between = _differing(records, [name for name in by if name not in ("sparsity", "method")]) if across_methods else []
    shared = [name for name in between if not name.startswith(("method", "init."))]
    names = [name for name in dict.fromkeys([*along, *shared]) if name not in by]
    return [name for name in names if not _follows_from(choice_of(name), name, records, shown=[*by, *names])]


def choice_of(name: str) -> str:
    """Return the setting that names a group's choice: `init.name` for `init.std`, and the column `model` for `model.width`."""
    group = name.partition(".")[0]
    return group if group in COLUMNS else f"{group}.name"


def _follows_from(choice: str, name: str, records: Sequence[Record], *, shown: Sequence[str]) -> bool:
    """Return whether a choice that is shown determines a setting: no two records with the same choice differ in it."""
    values: dict[str, set[str]] = {}
    for record in records:
        values.setdefault(repr(record.settings.get(choice)), set()).add(repr(record.settings.get(name)))
    return choice != name and choice in shown and all(len(of_choice) == 1 for of_choice in values.values())


def _differing(records: Sequence[Record], alike: Sequence[str]) -> list[str]:
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(repr(record.settings.get(name)) for name in alike), []).append(record)
    found: dict[str, None] = {}
    for group in groups.values():
        for name in dict.fromkeys(name for record in group for name in record.settings):
            if name not in alike and len({repr(record.settings.get(name)) for record in group}) > 1:
                found[name] = None
    return list(found)


def _cell(group: Sequence[Record], names: Sequence[str]) -> Cell:
    results = merged_results(group)
    return Cell(
        key={name: group[0].settings.get(name, "") for name in names},
        settings=group[0].settings,
        results=list(results.values()),
        wanted=len({seed for record in group for seed in record.wanted} | results.keys()),
        folders=[folder for record in group for folder in record.folders],
        schedule=group[0].schedule,
    )


def lines(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Return the finished cells that belong on one curve, by rising sparsity: those whose keys agree in all but the sparsity.

    Every method's line starts at its reference, which agrees with it in all that determines a reference. A reference that starts no
    line is a line of its own.
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
    """Return whether a reference agrees with a cell in all that determines it; for a pruned trained network, in what trained that network."""
    own = {name: value for name, value in reference.settings.items() if name not in ("method", "sparsity")}
    dense = {name.removeprefix("dense_"): value for name, value in cell.settings.items() if name.startswith("dense_")}
    return all((dict(cell.settings) | dense).get(name) == value for name, value in own.items())
