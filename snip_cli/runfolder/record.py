"""What a run leaves in its folder, read and summed up; `folder.py` writes it. Nothing in this file imports torch.

`config.yaml` `env.json` `run.log` `metrics.csv` `mask.pt` `checkpoint.pt`, TensorBoard events, `steps/` and `pruning.json` of methods that
prune in several steps, and last `metrics.json`, whose presence means that the run is finished for the seeds that it lists.
"""

import csv
import json
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from snip_cli import registry
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.runtime.environment import git_state

EVALUATION_COLUMNS = ("iteration", "learning_rate", "train_loss", "val_loss", "val_error", "test_loss", "test_error")
# Where `schedule.train_error` asks for it.
ON_REQUEST = ("train_error",)

Evaluation = dict[str, float]
Result = dict[str, Any]


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file so that after a crash at any moment it holds either the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened to be synchronised
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """`write_atomically` for text."""
    write_atomically(path, lambda file: file.write(text.encode()) and None)


def summarise(config: Config, results: dict[int, Result]) -> dict[str, Any]:
    """The content of `metrics.json` for the results of all seeds that are done; counts and sparsities are the first one's.

    The effective sparsity leaves out what is kept on no path from input to output; null where the network cannot be followed, and in
    results that were made before it was told.
    """
    seeds = [results[seed] for seed in sorted(results)]
    layers, effective = seeds[0]["layers"], seeds[0].get("effective_kept")
    kept, total = (sum(layer[count] for layer in layers) for count in ("kept", "total"))
    errors = [seed["test_error"] for seed in seeds]
    return {
        "method": config.method_name,
        "model": config.model.name,
        "dataset": config.dataset.name,
        "sparsity_requested": config.sparsity,
        "sparsity": 1 - kept / total,
        "effective_sparsity": None if effective is None else 1 - effective / total,
        "total": total,
        "kept": kept,
        "layers": layers,
        "seeds": seeds,
        "test_error_mean": statistics.fmean(errors),
        "test_error_std": statistics.stdev(errors) if len(errors) > 1 else None,
    }


def result_of(
    seed: int,
    evaluations: list[Evaluation],
    layers: list[Any],
    told: dict[str, Any],
    *,
    train_seconds: float,
    prune_seconds: float,
) -> Result:
    """One seed's entry of `metrics.json`: errors in percent, of the last evaluation, the best of the last five (as the released code of
    SNIP reports) and the best of all (as that of SNACS does); `told` are whether it learned anything (null: trained on too few images to
    tell), counts and MiB of the weights without biases, what is kept of all parameters on a path from input to output, and the layers of
    which nothing is. `prune_seconds` are what the mask cost, whichever run or attempt found its parts.
    """
    last = evaluations[-1]
    return {
        "seed": seed,
        "test_error": last["test_error"],
        "test_error_best": min(evaluation["test_error"] for evaluation in evaluations[-5:]),
        "test_error_lowest": min(evaluation["test_error"] for evaluation in evaluations),
        "val_error": last["val_error"],
        "iterations": int(last["iteration"]),
        **told,
        "layers": layers,
        "train_seconds": round(train_seconds, 3),
        "prune_seconds": round(prune_seconds, 6),
    }


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None where there is no file; raises ConfigError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is damaged ({error}): delete it, and the command that trained it makes it anew."
        ) from error


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """`metrics.json` of a run, None where it is not finished."""
    return read_json(folder / "metrics.json")


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.csv` as text, none where there is no such file; raises ConfigError where it is damaged."""
    path = folder / "metrics.csv"
    try:
        with path.open(newline="") as file:
            found = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    if any(None in row or not {"seed", *EVALUATION_COLUMNS} <= row.keys() for row in found):
        raise ConfigError(f"{path} is damaged: delete it, and the same command goes on without the rows it held.")
    return found


def other_files(made: Mapping[str, Any]) -> list[str]:
    """The names of the user's own Python files that have changed since the environment `made`, of those that are there."""
    return [name for name, was in made.get("own_files", {}).items() if registry.own_files.get(name, was) != was]


def other_commit(folder: Path) -> str:
    """A note that names the commit that made a folder's results, where it is not the present one or had changes, or the user's files that
    have changed since; else nothing."""
    made = read_json(folder / "env.json") or {}
    if changed := other_files(made):
        return f" by an earlier {', '.join(changed)} (delete the folder to do it anew)"
    before, now = made.get("commit"), git_state()[0]
    if before and now and before != now:
        return f" by commit {before[:9]} (now {now[:9]})"
    return " by code with uncommitted changes" if made.get("dirty") else ""


def finished_seeds(config: Config) -> list[int]:
    """The seeds asked for whose results the run's folder holds already."""
    metrics = read_metrics(config.folder)
    done = {result["seed"] for result in metrics["seeds"]} if metrics else set()
    return [seed for seed in config.all_seeds if seed in done]


def is_finished(config: Config) -> bool:
    """Whether the run's folder holds a result for every seed asked for."""
    return finished_seeds(config) == config.all_seeds


def is_done(config: Config) -> bool:
    """Whether the run is finished and, with `compact=true`, `compact.json` has all of its seeds too."""
    if not is_finished(config) or not config.compact:
        return is_finished(config)
    compacted = {entry["seed"] for entry in (read_json(config.folder / "compact.json") or {}).get("seeds", [])}
    return compacted >= set(config.all_seeds)
