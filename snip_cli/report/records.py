"""Run folders → plain records."""

import logging
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snip_cli.config import reading as configuration
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.runfolder import record

log = logging.getLogger("snip_cli")

# What tells runs apart by default; every other setting that differs is named beside them.
COLUMNS = ("method", "model", "dataset", "sparsity")
# A folder that holds one of these is a run's.
RUN_FILES = ("config.yaml", "metrics.json")


@dataclass(frozen=True)
class Record:
    """One run folder: its settings by dotted name, and its results by seed (none where it is not finished)."""

    folder: Path
    settings: dict[str, Any]
    results: dict[int, dict[str, Any]]
    wanted: list[int]


def read_tree(*tops: Path, may_be_empty: bool = False) -> list[Record]:
    """All runs below `tops`, by folder name; a file is passed over, which a pattern may name.

    Raises ConfigError where one is not there, none is a folder or, unless that may be, there is no run in any.
    """
    missing = [top for top in tops if not top.exists()]
    records = read_folders(sorted({path.parent for top in tops for name in RUN_FILES for path in top.rglob(name)}))
    if missing or not (records or (may_be_empty and any(top.is_dir() for top in tops))):
        raise ConfigError(
            f"There is no run below {listed(missing or tops)}: name the output_dir of snip-run, or folders of runs."
        )
    return records


def listed(folders: Iterable[Path]) -> str:
    """Folders in words, at most three of them by name."""
    first, *others = map(str, folders)
    named = ", ".join([first, *others[:2]])
    return f"{named} and {len(others) - 2} more" if len(others) > 2 else named


def is_run(folder: Path) -> bool:
    """Whether a run has begun in this very folder."""
    return any((folder / name).is_file() for name in RUN_FILES)


def read_folders(folders: Iterable[Path]) -> list[Record]:
    """The runs in these folders; one that has not begun is left out, one that cannot be read is too, and is named in a warning."""
    records = []
    for folder in folders:
        if is_run(folder):
            try:
                records.append(read(folder))
            except ConfigError as error:
                log.warning("left out: %s", error)
    return records


def read(folder: Path) -> Record:
    """The record in one run's folder. Raises ConfigError where a file is damaged."""
    config = configuration.read(folder / "config.yaml")
    metrics = record.read_metrics(folder)
    results = {result["seed"]: result for result in metrics["seeds"]} if metrics else {}
    settings = settings_of(config)
    content = (record.read_json(folder / "env.json") or {}).get("weights", config.model.weights)
    if content != config.model.weights:  # a file, which may hold others another time
        settings["model.weights"] += f" ({content[:8]})"
    return Record(folder, settings, results, config.all_seeds)


def settings_of(config: Config) -> dict[str, Any]:
    """All that determines a result but the seed, flat, with the four columns first."""
    own = {
        "method": config.method_name,
        "model": config.model.name,
        "dataset": config.dataset.name,
        "sparsity": config.sparsity,
    }
    settings = config.settings()
    del settings["seed"]
    settings.pop("sparsity", None)
    for group in ("method", "model", "dataset"):
        settings.get(group, {}).pop("name", None)
    return own | _flat(settings)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            # The options of a group's function are settings of that group.
            flat |= _flat(value, prefix if key == "options" else f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def effective_sparsity(results: Sequence[dict[str, Any]]) -> float | None:
    """The fraction of the prunable parameters that is removed or on no path from input to output, mean over the seeds that tell it.

    None where none does: records of earlier versions do not, nor do those of networks that cannot be followed.
    """
    told = [result for result in results if result.get("effective_kept") is not None]
    left = [result["effective_kept"] / sum(layer["total"] for layer in result["layers"]) for result in told]
    return 1 - statistics.fmean(left) if left else None
