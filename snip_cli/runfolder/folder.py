"""A run's folder while the run goes on: locked, with its log, and written file by file. Nothing in this file imports torch."""

import csv
import io
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from snip_cli.config import reading as configuration
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.runfolder.record import (
    EVALUATION_COLUMNS,
    ON_REQUEST,
    Evaluation,
    other_files,
    read_evaluations,
    read_json,
    write_text,
)
from snip_cli.runtime.environment import environment

log = logging.getLogger("snip_cli")

# What a run's folder holds as soon as there is something to lose.
WORK = ("checkpoint.pt", "mask.pt", "steps", "metrics.json")


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
        """Make and lock the folder; raises ConfigError where it is not writable or, unless one can `wait`, the same run is already going.

        A folder that this makes is taken away where what is done with it is refused before there is a result, so that no report lists it.
        """
        folder = cls(config)
        is_new = not folder.path.exists()
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
        refused = False
        try:
            with _log_to(folder.path / "run.log"):
                try:
                    yield folder
                except Exception as error:
                    refused = isinstance(error, ConfigError)
                    log.debug("failed", exc_info=True)
                    error.add_note(f"its traceback is in {folder.path / 'run.log'}")
                    raise
        finally:
            if refused and is_new and not any((folder.path / name).exists() for name in WORK):
                # What cannot be taken away must not hide why it was refused.
                shutil.rmtree(folder.path, ignore_errors=True)
            lock.release()

    def begin(self, device: str) -> None:
        """Write `config.yaml` and `env.json`."""
        write_text(self.path / "config.yaml", configuration.to_yaml(self.config))
        self.environment = {**environment(), "device": device}
        if self.config.model.weights:
            self.environment["weights"] = self.config.model.weights_hash
        earlier = read_json(self.path / "env.json")
        if earlier:
            if changed := other_files(earlier):
                log.warning(
                    "goes on with another %s than before: delete %s to start over", ", ".join(changed), self.path
                )
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

    def write_pruning(self, seed: int, told: dict[str, Any]) -> None:
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
        self.tell(metrics)

    def tell(self, metrics: dict[str, Any]) -> None:
        """Write `metrics.json`."""
        write_text(self.path / "metrics.json", json.dumps(metrics, indent=2) + "\n")


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
