"""Records → cells over seeds. Nothing is averaged over a setting that a cell's key does not name."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snip_cli.config.sections import AUTO
from snip_cli.errors import ConfigError
from snip_cli.registry import nearest
from snip_cli.report.protocols import DATASETS
from snip_cli.report.published import PUBLISHED, Published
from snip_cli.report.records import COLUMNS, Record, effective_sparsity

# Less than this a sparsity that is reached may differ from the one asked for: half a parameter of a thousand.
ROUNDING = 0.0005


@dataclass(frozen=True)
class Cell:
    """Replicates that differ in nothing but their seed, and the run folders that hold them."""

    key: dict[str, Any]
    settings: dict[str, Any]
    results: list[dict[str, Any]]
    wanted: int
    folders: list[Path] = field(default_factory=list)

    @property
    def errors(self) -> list[float]:
        return [result["test_error"] for result in self.results]

    @property
    def errors_best(self) -> list[float]:
        return [result["test_error_best"] for result in self.results]

    @property
    def reached(self) -> float | None:
        """The sparsity that was reached, mean over the seeds; None where no result tells."""
        layers = [result["layers"] for result in self.results if "layers" in result]
        kept = [sum(layer["kept"] for layer in seed) / sum(layer["total"] for layer in seed) for seed in layers]
        return 1 - statistics.fmean(kept) if kept else None

    @property
    def effective(self) -> float | None:
        return effective_sparsity(self.results)

    @property
    def sparsity(self) -> float:
        """Where the cell stands between 0 and 1: the sparsity asked for or, where a method came not as near to it as rounding does, reached."""
        asked, reached = self.settings["sparsity"], self.reached
        as_asked = asked != AUTO and (reached is None or abs(reached - asked) < ROUNDING)
        return asked if as_asked else reached or 0.0

    @property
    def published(self) -> Published | None:
        return next((number for number in PUBLISHED if number.is_of(self.settings)), None)

    @property
    def deviations(self) -> list[str]:
        """How the cell is not what the published number is: settings, and too few seeds; none where none is published or no run was made."""
        if not self.published or not self.wanted:
            return []
        n, full = len(self.errors), self.published.seeds
        return [*self.published.deviations(self.settings), *([f"n={n} of {full}"] if 0 < n < full else [])]


def cells(records: Sequence[Record], by: Sequence[str] = COLUMNS) -> list[Cell]:
    """Group records over seeds by the settings in `by` and by every other one in which they differ.

    A seed that several folders hold counts once. Raises ConfigError where no record has a setting of that name.
    """
    if not records:
        return []
    known = sorted({name for record in records for name in record.settings})
    for name in by:
        if name not in known:
            raise ConfigError(f"No run has a setting '{name}'{nearest(name, known)}; --by takes: {', '.join(known)}.")
    names = [*by, *differing(records, by)]
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(repr(record.settings.get(name)) for name in names), []).append(record)
    made = [_cell(group, names) for group in groups.values()]
    return sorted(
        made,
        key=lambda cell: [_order(cell.key[name]) for name in sorted(names, key=lambda n: n in ("method", "sparsity"))],
    )


def _order(value: Any) -> tuple[bool, int, Any]:
    """A key that sorts numbers before words, and first among the words the reference and the papers' data sets as they come there."""
    number = isinstance(value, int | float)
    first = ("reference", *DATASETS)
    return (not number, first.index(value) if value in first else len(first), value if number else str(value))


def differing(records: Sequence[Record], by: Sequence[str]) -> list[str]:
    """The settings outside `by` in which two records differ that a reader would compare.

    Along a line (all of `by` alike but the sparsity) that is every setting; between methods it is every setting that does not belong to
    the method, such as the schedule. A setting that comes with a choice, as `init.std` with `init.name`, is left out where the choice tells it.
    """
    along = _differing(records, [name for name in by if name != "sparsity"])
    between = _differing(records, [name for name in by if name not in ("sparsity", "method")])
    shared = [name for name in between if not name.startswith(("method", "init."))]
    names = [name for name in dict.fromkeys([*along, *shared]) if name not in by]
    return [name for name in names if not _comes_with(choice_of(name), name, records, shown=[*by, *names])]


def choice_of(name: str) -> str:
    """The setting that names a group's choice: `init.name` for `init.std`, and the column `model` for `model.width`."""
    group = name.partition(".")[0]
    return group if group in COLUMNS else f"{group}.name"


def _comes_with(choice: str, name: str, records: Sequence[Record], *, shown: Sequence[str]) -> bool:
    """Whether a choice that is shown tells the value of a setting below it: no two records of one choice differ in it."""
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
    results = {seed: result for record in group for seed, result in record.results.items()}
    wanted = {seed for record in group for seed in record.wanted} | set(results)
    return Cell(
        key={name: group[0].settings.get(name, "") for name in names},
        settings=group[0].settings,
        results=[results[seed] for seed in sorted(results)],
        wanted=len(wanted),
        folders=[record.folder for record in group],
    )
