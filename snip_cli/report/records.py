"""Run folders → records: the settings of each run by dotted name, and its results by seed."""

import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.runfolder.record import RUN_FILES, RunRecord, is_run, read_run
from snip_cli.runfolder.results import SeedResult

log = logging.getLogger("snip_cli")

# Dotted name, such as `schedule.iterations` → value, of any type that YAML has.
Settings = Mapping[str, Any]
# A row of a table: which columns it has depends on the settings in which its runs differ.
Row = dict[str, Any]

# The settings that every row names; every other setting that differs is named beside them.
COLUMNS = ("method", "model", "dataset", "sparsity")


@dataclass(frozen=True)
class Record:
    """One run: its settings, its results by seed (none before the first is finished), and the seeds that were requested.

    Several `folders` hold it where it was run, or copied, in several places. `schedule` is the name of the schedule that it chose; its own
    settings may differ from that.
    """

    folders: Sequence[Path]
    settings: Settings
    results: Mapping[int, SeedResult]
    wanted: Sequence[int]
    schedule: str = ""

    @property
    def name(self) -> str:
        return self.folders[0].name


def read_tree(*tops: Path, may_be_empty: bool = False, copies: Path | None = None) -> list[Record]:
    """Return all runs below `tops`, by folder; files among `tops`, which a shell pattern may name, are ignored.

    With `copies`, the folders of the same names in it are read too, before the others, so that their results count first.
    Raises ConfigError where one of `tops` does not exist, none is a folder or, without `may_be_empty`, none holds a run.
    """
    folders = find_folders(tops, may_be_empty=True)
    if copies:
        folders = list(dict.fromkeys([*(copies / folder.name for folder in folders), *folders]))
    records = read_folders(folders)
    if not (records or (may_be_empty and any(top.is_dir() for top in tops))):
        raise _no_run(tops)
    return records


def find_folders(tops: Sequence[Path], *, may_be_empty: bool = False) -> list[Path]:
    """Return the run folders below `tops`. Raises ConfigError where one of `tops` does not exist or, without `may_be_empty`, none holds a run."""
    missing = [top for top in tops if not top.exists()]
    folders = sorted({path.parent for top in tops for name in RUN_FILES for path in top.rglob(name)})
    if missing or not (folders or may_be_empty):
        raise _no_run(missing or tops)
    return folders


def _no_run(tops: Sequence[Path]) -> ConfigError:
    return ConfigError(f"There is no run below {listed(tops)}: name the output_dir of snip-run, or folders of runs.")


def listed(folders: Iterable[Path]) -> str:
    """Return folders in words, at most three of them by name."""
    first, *others = map(str, folders)
    named = ", ".join([first, *others[:2]])
    return f"{named} and {len(others) - 2} more" if len(others) > 2 else named


def read_folders(folders: Iterable[Path]) -> list[Record]:
    """Return the runs in these folders. One that has not begun is left out; one that cannot be read is left out with a warning.

    Folders of the same name and settings are one run, which was made in several places.
    """
    runs: dict[tuple[str, str], list[Record]] = {}
    for folder in folders:
        if is_run(folder):
            try:
                record = record_of(read_run(folder))
            except ConfigError as error:
                log.warning("left out: %s", error)
            else:
                runs.setdefault((record.name, repr(record.settings)), []).append(record)
    return [places[0] if len(places) == 1 else _merged(places) for places in runs.values()]


def record_of(run: RunRecord) -> Record:
    """Return the record of one run's folder."""
    settings = settings_of(run.config)
    content = run.environment.weights or run.config.model.weights
    if content != run.config.model.weights:  # a file: others may have its name, and a record lacks its folder
        settings["model.weights"] = f"{Path(run.config.model.weights).name} ({content[:8]})"
    return Record([run.folder], settings, run.results, run.config.all_seeds, run.config.schedule.name)


def _merged(places: Sequence[Record]) -> Record:
    wanted = sorted({seed for record in places for seed in record.wanted})
    folders = [folder for record in places for folder in record.folders]
    return Record(folders, places[0].settings, merged_results(places), wanted, places[0].schedule)


def merged_results(records: Sequence[Record]) -> dict[int, SeedResult]:
    """Return the results of all records by rising seed. Where several hold a seed the first one's counts, with a warning where they differ."""
    found: dict[int, tuple[Record, SeedResult]] = {}
    for record in records:
        for seed, result in record.results.items():
            first, counted = found.setdefault(seed, (record, result))
            if (counted.test_error, counted.kept) != (result.test_error, result.kept):
                log.warning(
                    "seed %d differs between %s (test error %.2f %%) and %s (%.2f %%): the first counts",
                    *(seed, first.folders[0], counted.test_error, record.folders[0], result.test_error),
                )
    return {seed: found[seed][1] for seed in sorted(found)}


def settings_of(config: Config) -> dict[str, Any]:
    """Return all that determines a result but the seed, flat, with the four columns first."""
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


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            # The options of a group's function are settings of that group.
            flat |= _flat(value, prefix if key == "options" else f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def reached_sparsity(results: Iterable[SeedResult]) -> float | None:
    """Return the fraction of the prunable parameters that is removed, mean over the seeds; None where no result has counts."""
    kept = [result.kept / result.total for result in results if result.total]
    return 1 - statistics.fmean(kept) if kept else None


def effective_sparsity(results: Iterable[SeedResult]) -> float | None:
    """Return the fraction of the prunable parameters that is removed or on no path from input to output, mean over the seeds.

    None where no result has it: records of earlier versions do not, nor do those of networks that cannot be traced.
    """
    known = [(result.effective_kept, result.total) for result in results if result.total]
    left = [kept / total for kept, total in known if kept is not None]
    return 1 - statistics.fmean(left) if left else None
