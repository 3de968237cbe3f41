"""The reader of a run's folder: what a run recorded, whether it is finished, and what made it. `recorder.py` writes the folder.

Results, settings and environment are read without torch; weights and masks are read when they are asked for.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snip_cli import registry
from snip_cli.config import reading as configuration
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.runfolder.forms import fits, shown
from snip_cli.runfolder.results import COLUMNS, Environment, Evaluation, Metrics, SeedResult, read_metrics
from snip_cli.runtime.environment import git_state
from snip_cli.runtime.files import damaged, make_writable, read_json, write_text

if TYPE_CHECKING:
    from snip_cli.runfolder.checkpoint import Mask, Saved, State

# A folder that holds one of these files belongs to a run.
RUN_FILES = ("config.yaml", "metrics.json")
# The folders of an absolute path.
FOLDERS = re.compile(r"(?<![\w.~/])/(?:[^\s'\"/]+/)*(?=[^\s'\"/])")


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder holds: settings, results by seed (none before the first seed is finished) and environment.

    A record whose tensors were left out, as in `results/records`, is read in the same way; it has neither weights nor masks.
    """

    folder: Path
    config: Config
    results: dict[int, SeedResult]
    environment: Environment

    @property
    def weights(self) -> "Mapping[int, State]":
        """The trained weights by seed; none where the folder has no `checkpoint.pt`."""
        return self._saved.weights

    @property
    def masks(self) -> "Mapping[int, Mask]":
        """The masks by seed; none where the folder has no `mask.pt`."""
        return self._saved.masks

    def require(self, seed: int, held: Mapping[int, Any], file: str) -> None:
        """Raise ConfigError where `file`, which holds something for the seeds in `held`, has nothing for this seed."""
        if seed not in held:
            there = ", ".join(map(str, sorted(held))) or "none"
            raise ConfigError(
                f"{self.folder / file} does not hold seed {seed} (it holds: {there}): name another seed, or delete metrics.json and run again."
            )

    @cached_property
    def _saved(self) -> "Saved":
        from snip_cli.runfolder import checkpoint  # imports torch

        return checkpoint.load(self.folder)


def is_run(folder: Path) -> bool:
    """Return whether this very folder belongs to a run."""
    return any((folder / name).is_file() for name in RUN_FILES)


def read_run(folder: Path) -> RunRecord:
    """Read a run, finished or not. Raises ConfigError where a file is damaged."""
    metrics = read_metrics(folder)
    results = {result.seed: result for result in metrics.seeds} if metrics else {}
    return RunRecord(folder, configuration.read(folder / "config.yaml"), results, read_environment(folder))


def read_finished(folder: Path) -> RunRecord:
    """Read a run that has a result. Raises ConfigError where the folder holds none, or a file is damaged."""
    if read_metrics(folder) is None:
        raise ConfigError(
            f"{folder} holds no finished run (there is no metrics.json): name a run's folder, as snip-run prints it."
        )
    return read_run(folder)


def read_environment(folder: Path) -> Environment:
    """Return the content of `env.json`; all unknown where there is no such file. Raises ConfigError where it is damaged."""
    path = folder / "env.json"
    try:
        return Environment.from_json(read_json(path) or {})
    except ConfigError:
        raise
    except ValueError as error:
        raise damaged(path, error) from error


def read_findings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the content of `pruning.json`, what a method found, by seed; nothing without that file.

    Raises ConfigError where it is damaged.
    """
    path = folder / "pruning.json"
    findings = read_json(path) or {}
    for seed, found in findings.items():
        layers = found.get("layers", {}) if isinstance(found, dict) else None
        if layers is None or not fits(layers, dict[str, dict[str, Any]]):
            raise damaged(path, f"'{seed}' is {shown(found)}")
        for name, value in ((name, value) for layer in layers.values() for name, value in layer.items()):
            if isinstance(value, dict) and not all(fits(value.get(k), list[float]) for k in ("edges", "counts")):
                raise damaged(path, f"'{name}' is {shown(value)}")
    return findings


def compacted_seeds(folder: Path) -> set[int]:
    """Return the seeds in `compact.json`; none without that file. Raises ConfigError where it is damaged."""
    path = folder / "compact.json"
    content = read_json(path)
    if content is None:
        return set()
    entries = content.get("seeds")
    if not fits(entries, list[dict[str, Any]]) or not all(fits(entry.get("seed"), int) for entry in entries or ()):
        raise damaged(path, f"'seeds' is {shown(entries)}")
    return {entry["seed"] for entry in entries or ()}


def read_evaluations(folder: Path) -> list[tuple[int, Evaluation]]:
    """Return the rows of `metrics.csv` with the seed of each; none without that file. Raises ConfigError where it is damaged."""
    path = folder / "metrics.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if not {"seed", *COLUMNS} <= set(reader.fieldnames or ()):
            raise ValueError("a column is missing")
        if any(None in row for row in rows):
            raise ValueError("a row is incomplete")
        return [(int(row["seed"]), Evaluation.from_json(row)) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise ConfigError(
            f"{path} is damaged ({error}): delete it, and the same command continues without its rows."
        ) from error


def write_record(places: Sequence[RunRecord], results: Mapping[int, SeedResult], top: Path) -> Path:
    """Write settings, environment and results of a run, without its tensors, to `top`/FOLDER, and return that folder.

    The machine's name and folders are left out. Raises ConfigError where `top` is not writable.

    Args:
        places: the folders of the same name that hold the run. Settings and environment are those of the one with the most seeds.
        results: the results of all places by rising seed, at least one.
        top: the folder of the records.
    """
    places = sorted(places, key=lambda place: len(place.results), reverse=True)
    config, seeds = places[0].config, max(place.config.seeds for place in places)
    config = replace(config, seeds=seeds, output_dir="runs", dataset=replace(config.dataset, root="data"))
    metrics = Metrics(
        config.method_name, config.model.name, config.dataset.name, config.sparsity, list(results.values())
    )
    folder = top / places[0].folder.name
    make_writable(folder)
    write_text(folder / "config.yaml", FOLDERS.sub("", configuration.to_yaml(config)))
    write_text(folder / "env.json", json.dumps(_merged_environment(places), indent=2) + "\n")
    write_text(folder / "metrics.json", json.dumps(metrics.to_json(), indent=2) + "\n")
    return folder


def _merged_environment(places: Sequence[RunRecord]) -> dict[str, Any]:
    """Return the `env.json` of a record: the environment of the first place, and under `earlier` each other one once."""
    attempts: dict[str, dict[str, Any]] = {}
    for place in places:
        for content in (place.environment.to_json(), *place.environment.earlier):
            made = replace(Environment.from_json(content), earlier=[]).to_json()
            del made["host"]
            made = json.loads(FOLDERS.sub("", json.dumps(made)))
            # A record may have been copied during the attempt, before its duration and rates were known.
            begun = {name: value for name, value in made.items() if name not in ("wall_seconds", "images_per_second")}
            attempts.setdefault(json.dumps(begun), made)
    first, *others = attempts.values()
    return {**first, "earlier": others} if others else first


def changed_files(made: Environment) -> list[str]:
    """Return the names of the user's own Python files that have changed since a result was made, of those that are there."""
    return [name for name, was in made.own_files.items() if registry.own_files.get(name, was) != was]


def other_commit(folder: Path) -> str:
    """Return a note that names what made a folder's results, where it is not the present code: the user's files that have changed since,
    another commit, or uncommitted changes; else an empty string."""
    made = read_environment(folder)
    if changed := changed_files(made):
        return f" by an earlier {', '.join(changed)} (delete the folder to repeat the run)"
    before, now = made.commit, git_state()[0]
    if before and now and before != now:
        return f" by commit {before[:9]} (now {now[:9]})"
    return " by code with uncommitted changes" if made.dirty else ""


def finished_seeds(config: Config) -> list[int]:
    """Return the requested seeds whose results the run's folder holds."""
    metrics = read_metrics(config.folder)
    done = {result.seed for result in metrics.seeds} if metrics else set()
    return [seed for seed in config.all_seeds if seed in done]


def is_finished(config: Config) -> bool:
    """Return whether the run's folder holds a result for every requested seed."""
    return finished_seeds(config) == config.all_seeds


def is_done(config: Config) -> bool:
    """Return whether the run is finished and, with `compact=true`, `compact.json` has all of its seeds too."""
    if not is_finished(config) or not config.compact:
        return is_finished(config)
    return compacted_seeds(config.folder) >= set(config.all_seeds)
