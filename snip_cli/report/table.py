"""Records → cells over seeds → a table. Nothing is averaged over a setting that the table does not name."""

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from snip_cli.errors import ConfigError
from snip_cli.registry import nearest
from snip_cli.report.published import PUBLISHED, Published
from snip_cli.report.records import COLUMNS, Record
from snip_cli.sections import AUTO

UNFINISHED = "-"
# Less than this a sparsity that is reached may differ from the one asked for: half a parameter of a thousand.
ROUNDING = 0.0005


@dataclass(frozen=True)
class Cell:
    """Replicates that differ in nothing but their seed."""

    key: dict[str, Any]
    settings: dict[str, Any]
    results: list[dict[str, Any]]
    wanted: int

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
    def sparsity(self) -> float:
        """Where the cell stands between 0 and 1: the sparsity asked for or, where a method came not as near to it as rounding does, reached."""
        asked, reached = self.settings["sparsity"], self.reached
        as_asked = asked != AUTO and (reached is None or abs(reached - asked) < ROUNDING)
        return asked if as_asked else reached or 0.0

    @property
    def published(self) -> Published | None:
        s = self.settings
        return PUBLISHED.get((s["method"], s["model"], s["dataset"], s["sparsity"]))

    @property
    def deviations(self) -> list[str]:
        """The settings that are not those of the published number; none where none is published or no run was made."""
        return self.published.deviations(self.settings) if self.published and self.wanted else []


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


def with_missing(found: Sequence[Cell], source: str, others: Iterable[str] = ()) -> list[Cell]:
    """The cells of a published table, in its order; a number that no run has been made for gets an empty cell.

    `source` is the beginning of the table's name, such as `Table 2`; `others` are the names of what is no such table. Raises ConfigError where no published table is called so.
    """
    keys = [key for key, published in PUBLISHED.items() if published.source.startswith(f"{source},")]
    if not keys:
        known = ", ".join([*sorted({published.source.split(",")[0] for published in PUBLISHED.values()}), *others])
        raise ConfigError(f"No published table is called '{source}': choose one of {known}.")
    made: list[Cell] = []
    for key in keys:
        settings = dict(zip(COLUMNS, key, strict=True))
        present = [cell for cell in found if all(cell.settings[name] == settings[name] for name in COLUMNS)]
        columns = found[0].key if found else settings
        missing = Cell({name: settings.get(name, "") for name in columns}, settings, [], wanted=0)
        made += present or [missing]
    return made


def _order(value: Any) -> tuple[bool, bool, Any]:
    """A key that sorts numbers before words, and the reference before every method."""
    number = isinstance(value, int | float)
    return (not number, value != "reference", value if number else str(value))


def differing(records: Sequence[Record], by: Sequence[str]) -> list[str]:
    """The settings outside `by` in which two records differ that a reader would compare.

    Along a line (all of `by` alike but the sparsity) that is every setting; between methods it is every setting that does not belong to
    the method, such as the schedule.
    """
    along = _differing(records, [name for name in by if name != "sparsity"])
    between = _differing(records, [name for name in by if name not in ("sparsity", "method")])
    shared = [name for name in between if not name.startswith(("method", "init."))]
    return [name for name in dict.fromkeys([*along, *shared]) if name not in by]


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


def _cell(group: Sequence[Record], names: Sequence[str]) -> Cell:
    results = {seed: result for record in group for seed, result in record.results.items()}
    wanted = {seed for record in group for seed in record.wanted} | set(results)
    return Cell(
        key={name: group[0].settings.get(name, "") for name in names},
        settings=group[0].settings,
        results=[results[seed] for seed in sorted(results)],
        wanted=len(wanted),
    )


def rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The table's rows with numbers as they are: errors in percent, sample standard deviations, difference = ours − published."""
    table = []
    for cell in cells:
        mean = statistics.fmean(cell.errors) if cell.errors else None
        published = cell.published.error if cell.published else None
        table.append(
            {
                **cell.key,
                "reached": cell.reached,
                "n": len(cell.errors),
                "wanted": cell.wanted,
                "error": mean,
                "std": statistics.stdev(cell.errors) if len(cell.errors) > 1 else None,
                "best_of_last_5": statistics.fmean(cell.errors_best) if cell.errors_best else None,
                "published": published,
                "difference": mean - published if mean is not None and published is not None else None,
                "deviations": " ".join(cell.deviations),
            }
        )
    return table


def as_csv(cells: Sequence[Cell]) -> str:
    """The rows as CSV, numbers in full."""
    table = rows(cells)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().rstrip("\n")


def as_text(cells: Sequence[Cell], style: str = "simple") -> str:
    """The rows for reading; `style` is a format of tabulate: `simple`, `github` (Markdown) or `latex_booktabs`.

    A published number whose protocol a row does not follow has a star, and a line below the table says what differs.
    """
    other = any(cell.results and cell.sparsity != cell.settings["sparsity"] for cell in cells)
    table = [_shown(row, cell, reached=other) for row, cell in zip(rows(cells), cells, strict=True)]
    text = tabulate(table, headers="keys", tablefmt=style, disable_numparse=True)
    differing = dict.fromkeys(setting for cell in cells for setting in cell.deviations)
    return text + (f"\n\n* not the published protocol: {', '.join(differing)}" if differing else "")


def seeds_done(done: int, wanted: int) -> str:
    """How many seeds a cell stands for, in words."""
    if wanted == 0:
        return "not run yet"
    return str(done) if done == wanted else f"{done} of {wanted}"


def _shown(row: dict[str, Any], cell: Cell, *, reached: bool) -> dict[str, str]:
    error = UNFINISHED if row["error"] is None else f"{row['error']:.2f}"
    return {
        **{name: str(value) for name, value in cell.key.items()},
        **({"reached": f"{cell.sparsity:.4f}" if cell.results else UNFINISHED} if reached else {}),
        "n": seeds_done(row["n"], row["wanted"]),
        "error (%)": error if row["std"] is None else f"{error} ± {row['std']:.2f}",
        "best of last 5": UNFINISHED if row["best_of_last_5"] is None else f"{row['best_of_last_5']:.2f}",
        "paper (%)": "" if row["published"] is None else f"{row['published']}{' *' if cell.deviations else ''}",
        "difference": "" if row["difference"] is None else f"{row['difference']:+.2f}",
    }
