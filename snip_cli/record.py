"""What a run leaves in its folder: the one place that writes and reads it. Nothing in this file imports torch.

`config.yaml` `env.json` `run.log` `metrics.csv` `mask.pt` `checkpoint.pt`, TensorBoard events, `steps/` and `pruning.json` of methods that
prune in several steps, and last `metrics.json`, whose presence means that the run is finished for the seeds that it lists.
"""

import csv
import io
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from snip_cli import config as configuration
from snip_cli.config import Config
from snip_cli.environment import environment, git_state
from snip_cli.errors import ConfigError

log = logging.getLogger("snip_cli")

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


def make_writable(folder: Path) -> None:
    """Make a folder and try to write there; raises ConfigError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{folder} is not writable ({error.strerror}): choose another output_dir.") from error


class RunFolder:
    """A run's folder, open for writing: locked against a second process and with the log going to `run.log`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.path = config.folder
        self.started = time.perf_counter()
        self._rows: list[dict[str, Any]] = []

    @classmethod
    @contextmanager
    def open(cls, config: Config, *, wait: bool = False) -> Iterator["RunFolder"]:
        """Make and lock the folder; raises ConfigError where it is not writable or, unless one can `wait`, the same run is already going."""
        folder = cls(config)
        make_writable(folder.path)
        lock = FileLock(folder.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            if wait:
                log.info("waits for another process that does the run %s", folder.path)
                lock.acquire(timeout=-1)
        if not lock.is_locked:
            raise ConfigError(
                f"The run {folder.path} is already going in another process: wait for it or choose another output_dir."
            )
        try:
            with _log_to(folder.path / "run.log"):
                try:
                    yield folder
                except Exception as error:
                    log.debug("failed", exc_info=True)
                    error.add_note(f"its traceback is in {folder.path / 'run.log'}")
                    raise
        finally:
            lock.release()

    def begin(self, device: str) -> None:
        """Write `config.yaml` and `env.json`."""
        write_text(self.path / "config.yaml", configuration.to_yaml(self.config))
        self.environment = {**environment(), "device": device}
        earlier = read_json(self.path / "env.json")
        if earlier:
            older = earlier.pop("earlier", [])
            self.environment["earlier"] = [*older, earlier]
        self._write_environment(wall_seconds=None)

    def _write_environment(self, **more: Any) -> None:
        write_text(self.path / "env.json", json.dumps({**self.environment, **more}, indent=2) + "\n")

    def restore_evaluations(self, finished: list[int], evaluations: Mapping[int, list[Evaluation]]) -> None:
        """Bring `metrics.csv` to the state of the checkpoint: the finished seeds' rows as they are, and the `evaluations` of others."""
        kept = [row for row in read_evaluations(self.path) if int(row["seed"]) in finished]
        self._rows = [*kept, *(_row(seed, row) for seed, rows in evaluations.items() for row in rows)]
        self._write_rows()

    def add_evaluation(self, seed: int, evaluation: Evaluation) -> None:
        """Write `metrics.csv` with one row more."""
        self._rows.append(_row(seed, evaluation))
        self._write_rows()

    def tell_pruning(self, seed: int, told: dict[str, Any]) -> None:
        """Write to `pruning.json` what a seed's method told, if it told anything."""
        if any(told.values()):
            path = self.path / "pruning.json"
            write_text(path, json.dumps({**(read_json(path) or {}), str(seed): told}, indent=1) + "\n")

    def _write_rows(self) -> None:
        text = io.StringIO()
        asked = [column for column in ON_REQUEST if any(column in row for row in self._rows)]
        writer = csv.DictWriter(text, ("seed", *EVALUATION_COLUMNS, *asked), lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(self._rows, key=lambda row: int(row["seed"])))
        write_text(self.path / "metrics.csv", text.getvalue())

    def finish(self, metrics: dict[str, Any], images_per_second: dict[int, float]) -> None:
        """Write `env.json` again, with the wall time and each newly trained seed's rate, and last `metrics.json`."""
        wall_seconds = round(time.perf_counter() - self.started, 3)
        self._write_environment(wall_seconds=wall_seconds, images_per_second=images_per_second)
        write_text(self.path / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def summarise(config: Config, results: dict[int, Result], total: int) -> dict[str, Any]:
    """The content of `metrics.json` for the results of all seeds; counts and sparsities are the first one's.

    The effective sparsity leaves out what is kept on no path from input to output; null where the network cannot be followed, and in
    results that were made before it was told.
    """
    seeds = [results[seed] for seed in sorted(results)]
    layers = results[config.seed]["layers"]
    effective = results[config.seed].get("effective_kept")
    kept = sum(layer["kept"] for layer in layers)
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
    sizes: dict[str, Any],
    *,
    train_seconds: float,
    prune_seconds: float,
) -> Result:
    """One seed's entry of `metrics.json`: errors in percent, of the last evaluation, the best of the last five (as the released code of
    SNIP reports) and the best of all (as that of SNACS does); `sizes` are counts and MiB of the weights without biases, what is kept of all
    parameters on a path from input to output, and the layers of which nothing is. `prune_seconds` are what the mask cost, whichever run or
    attempt found its parts.
    """
    last = evaluations[-1]
    return {
        "seed": seed,
        "test_error": last["test_error"],
        "test_error_best": min(evaluation["test_error"] for evaluation in evaluations[-5:]),
        "test_error_lowest": min(evaluation["test_error"] for evaluation in evaluations),
        "val_error": last["val_error"],
        "iterations": int(last["iteration"]),
        **sizes,
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
        raise ConfigError(f"{path} is damaged ({error}): delete it, and the same command makes it anew.") from error


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


def other_commit(folder: Path) -> str:
    """A note that names the commit that made a folder's results, where it is not the present one or had changes; else nothing."""
    made = read_json(folder / "env.json") or {}
    before, now = made.get("commit"), git_state()[0]
    if before and now and before != now:
        return f" by commit {before[:9]} (now {now[:9]})"
    return " by changed code" if made.get("dirty") else ""


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


def _row(seed: int, evaluation: Evaluation) -> dict[str, Any]:
    asked = [column for column in ON_REQUEST if column in evaluation]
    return {"seed": seed, **{column: evaluation[column] for column in (*EVALUATION_COLUMNS, *asked)}}


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.DEBUG)
    log.setLevel(logging.DEBUG)  # also where no command line has set it, as in a cluster's worker
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
