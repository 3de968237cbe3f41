"""What the page shows of each run: state, result of every seed, settings, what made it, and the command."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from snip_cli.errors import ConfigError
from snip_cli.report.page.commands import alone
from snip_cli.report.records import Record
from snip_cli.runfolder.record import read_environment
from snip_cli.runfolder.results import Environment, SeedResult

UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Run:
    """One run as the page lists it; `command` made it, and `alone` repeats this run without others of a sweep, where that is known."""

    name: str
    state: str
    folders: Sequence[str]
    command: str
    alone: str | None
    made_with: Sequence[tuple[str, str]]
    settings: Sequence[tuple[str, str]]
    seeds: Sequence[dict[str, str]]


@dataclass(frozen=True)
class Summary:
    """What was run, in numbers: runs and finished runs, networks and methods, and how many runs each commit and machine made."""

    facts: Sequence[tuple[str, str]]


def runs(records: Sequence[Record]) -> tuple[list[Run], Summary]:
    """Return all runs in the order of the records, and what they have in common."""
    made = [(record, _environment(record)) for record in records]
    listed = [_run(record, environment) for record, environment in made]
    return listed, _summary(made)


def _environment(record: Record) -> Environment:
    """Return what made a run; all unknown where the file cannot be read, which `read_folders` has said already."""
    try:
        return read_environment(record.folders[0])
    except ConfigError:
        return Environment()


def _run(record: Record, made: Environment) -> Run:
    return Run(
        record.name,
        state(record),
        [str(folder) for folder in record.folders],
        made.command,
        alone(made.command, record.settings),
        [(name, text) for name, text in _made_with(made) if text],
        [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in record.settings.items()],
        [_seed(result) for result in record.results.values()],
    )


def state(record: Record) -> str:
    """Return how far a run is, in words."""
    done, wanted = len(record.results), len(set(record.wanted) | record.results.keys())
    return "finished" if done == wanted else f"{done} of {wanted} seeds"


def commit_of(made: Environment, digits: int = 40) -> str:
    """Return the commit by its first digits, and whether files of the program differed from it."""
    if not made.commit:
        return UNKNOWN
    return made.commit[:digits] + " with uncommitted changes" * bool(made.dirty)


def machine_of(made: Environment) -> str:
    """Return the machine in words."""
    processors = f"{made.processors} processors" if made.processors else ""
    return ", ".join(filter(None, (made.host, made.platform, processors, made.device))) or UNKNOWN


def _made_with(made: Environment) -> list[tuple[str, str]]:
    packages = ", ".join(f"{name} {version}" for name, version in made.packages.items() if version)
    files = ", ".join(f"{name} ({content[:8]})" for name, content in made.own_files.items())
    return [
        ("started", made.started),
        ("wall time", f"{made.wall_seconds:,.0f} s" if made.wall_seconds is not None else ""),
        ("commit", commit_of(made)),
        ("machine", machine_of(made)),
        ("python", made.python),
        ("packages", packages),
        ("own files", files),
        ("training", made.engine or ""),
        ("earlier attempts", str(len(made.earlier)) if made.earlier else ""),
    ]


def _seed(result: SeedResult) -> dict[str, str]:
    def number(value: Any, digits: str) -> str:
        return "-" if value is None else format(value, digits)

    return {
        "seed": str(result.seed),
        "test error (%)": number(result.test_error, ".2f"),
        "validation error (%)": number(result.val_error, ".2f"),
        "iterations": number(result.iterations, ","),
        "kept": f"{result.kept:,} of {result.total:,}" if result.layers else "-",
        "effective sparsity": number(result.effective_sparsity, ".4f"),
        "training (s)": number(result.train_seconds, ",.1f"),
        "learned": {True: "yes", False: "no", None: "-"}[result.learned],
    }


def _summary(made: Sequence[tuple[Record, Environment]]) -> Summary:
    records = [record for record, _ in made]
    finished = sum(state(record) == "finished" for record in records)
    seconds = sum(result.train_seconds or 0.0 for record in records for result in record.results.values())
    started = sorted(environment.started[:10] for _, environment in made if environment.started)
    facts = [
        ("runs", f"{len(records)}, {finished} of them finished"),
        *((f"{name}s", _counted(record.settings[name] for record in records)) for name in ("method", "model")),
        ("data sets", _counted(record.settings["dataset"] for record in records)),
        ("seeds trained", str(sum(len(record.results) for record in records))),
        ("training, all seeds", f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds:,.0f} s"),
        ("started", " to ".join(dict.fromkeys([started[0], started[-1]])) if started else UNKNOWN),
        ("commits", _counted(commit_of(environment, digits=9) for _, environment in made)),
        ("machines", _counted(machine_of(environment) for _, environment in made)),
    ]
    return Summary(facts)


def _counted(words: Iterable[str]) -> str:
    counts = Counter(words)
    return "; ".join(f"{word} ({count})" if len(counts) > 1 else str(word) for word, count in counts.items())
