"""What a run measures, as typed records: each is one JSON object of `metrics.json`, `env.json` or a checkpoint.

`recorder.py` writes them, `record.py` reads them. Errors are top-1 errors in percent. A record of an earlier version may lack fields;
they are read as None. Nothing in this file imports torch.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from snip_cli.runfolder.cost import Cost
from snip_cli.runfolder.forms import read_as, shown
from snip_cli.runtime.files import damaged, read_json

Json = Mapping[str, Any]

# Names that earlier versions gave to fields of `SeedResult`.
OLD_NAMES = {"test_error_best": "test_error_best_of_last_5", "test_error_lowest": "test_error_lowest_of_all"}


@dataclass(frozen=True)
class LayerCount:
    """How many parameters, weights and biases together, a layer has (`total`) and how many its mask keeps."""

    name: str
    total: int
    kept: int


@dataclass(frozen=True)
class Evaluation:
    """One row of `metrics.csv`. Losses are means in nats; `train_loss` is the mean over the iterations since the last evaluation.

    `train_error` is measured with `schedule.train_error=true` only. `images_per_second` is not in `metrics.csv`.
    """

    iteration: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_error: float
    test_loss: float
    test_error: float
    train_error: float | None = None
    images_per_second: float | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Evaluation":
        """Read a checkpoint's dictionary, or a row of `metrics.csv` as text. Raises KeyError or ValueError where it is damaged."""
        needed = {name: float(row[name]) for name in COLUMNS[1:]}
        optional = {name: float(row[name]) for name in OPTIONAL if row.get(name) not in (None, "")}
        return cls(int(row["iteration"]), **needed, **optional)

    def to_json(self) -> dict[str, float]:
        """Return the measured values by name, in the order of the fields."""
        return {name: value for name, value in vars(self).items() if value is not None}


# Of `Evaluation`: the columns that every metrics.csv has, and the values that may be missing.
COLUMNS = ("iteration", "learning_rate", "train_loss", "val_loss", "val_error", "test_loss", "test_error")
OPTIONAL = ("train_error", "images_per_second")


@dataclass(frozen=True)
class SeedResult:
    """The result of one seed: an entry of `seeds` in `metrics.json`.

    Attributes:
        test_error: the error of the last evaluation.
        test_error_best_of_last_5: the lowest error of the last five evaluations, which the released code of SNIP reports. Earlier
            versions called it `test_error_best`.
        test_error_lowest_of_all: the lowest error of all evaluations, which the released code of SNACS reports. Earlier versions called
            it `test_error_lowest`. Both pick the evaluation by test error, so they are biased; the reports compare `test_error`.
        val_error: the validation error of the last evaluation.
        learned: whether the training loss is below that of guessing; None where fewer images were trained on than the training set has.
        weights_total, weights_kept: counts without biases.
        sparse_megabytes: size of the weights as compressed sparse matrices, in MiB.
        effective_kept: how many of the kept parameters lie on a path from input to output; None where the network cannot be traced.
        collapsed: the layers without a parameter on such a path.
        layers: counts of the final mask.
        cost: what the result cost, its ancestors included; None where a record of an earlier version does not say.
        train_seconds: duration of the training with its evaluations and checkpoints, over all attempts.
        prune_seconds: duration of finding the mask, including steps that were read from an earlier attempt or another run.
        facts: what a method that prunes during training reports, such as the sparsity that it found and the errors before its last change.
    """

    seed: int
    test_error: float
    test_error_best_of_last_5: float | None = None
    test_error_lowest_of_all: float | None = None
    val_error: float | None = None
    iterations: int | None = None
    learned: bool | None = None
    weights_total: int | None = None
    weights_kept: int | None = None
    sparse_megabytes: float | None = None
    effective_kept: int | None = None
    collapsed: list[str] = field(default_factory=list)
    layers: list[LayerCount] = field(default_factory=list)
    cost: Cost | None = None
    train_seconds: float | None = None
    prune_seconds: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_training(
        cls,
        seed: int,
        evaluations: Sequence[Evaluation],
        layers: list[LayerCount],
        *,
        train_seconds: float,
        prune_seconds: float,
        **more: Any,
    ) -> "SeedResult":
        """Sum up the evaluations of a finished training; `more` are the other fields by name."""
        last, errors = evaluations[-1], [evaluation.test_error for evaluation in evaluations]
        return cls(
            seed,
            last.test_error,
            min(errors[-5:]),
            min(errors),
            last.val_error,
            last.iteration,
            layers=layers,
            train_seconds=round(train_seconds, 3),
            prune_seconds=round(prune_seconds, 6),
            **more,
        )

    @classmethod
    def from_json(cls, entry: Json) -> "SeedResult":
        """Read an entry of `metrics.json` of any version. Raises ValueError where it is damaged."""
        if not isinstance(entry, Mapping) or not isinstance(entry.get("layers", []), list):
            raise ValueError(f"a seed is {shown(entry)}")
        known = {OLD_NAMES.get(name, name): value for name, value in entry.items()}
        known["layers"] = [read_as(LayerCount, layer) for layer in entry.get("layers", [])]
        known["cost"] = Cost.from_json(entry.get("cost"))
        return read_as(cls, known)

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name, without facts where there are none."""
        return {name: value for name, value in asdict(self).items() if name != "facts" or value}

    @property
    def total(self) -> int:
        """m, the number of prunable parameters; 0 where a record of an earlier version has no counts."""
        return sum(layer.total for layer in self.layers)

    @property
    def kept(self) -> int:
        """κ, the number of parameters that the mask keeps."""
        return sum(layer.kept for layer in self.layers)

    @property
    def sparsity(self) -> float | None:
        """The fraction of the prunable parameters that is removed; None where the record has no counts."""
        return 1 - self.kept / self.total if self.total else None

    @property
    def effective_sparsity(self) -> float | None:
        """The fraction that is removed or lies on no path from input to output (arXiv:2107.02306); None where it is not known."""
        return None if self.effective_kept is None or not self.total else 1 - self.effective_kept / self.total


@dataclass(frozen=True)
class Metrics:
    """The content of `metrics.json`: the results of the seeds that are finished, at least one, by rising seed."""

    method: str
    model: str
    dataset: str
    sparsity_requested: float | str
    seeds: list[SeedResult]

    @classmethod
    def from_json(cls, content: Json) -> "Metrics":
        """Read `metrics.json` of any version. Raises ValueError where it is damaged."""
        entries = content.get("seeds")
        if not isinstance(entries, list) or not entries:
            raise ValueError("it has no 'seeds'")
        names = {"method": "", "model": "", "dataset": "", "sparsity_requested": ""}
        return read_as(cls, {**names, **content, "seeds": [SeedResult.from_json(entry) for entry in entries]})

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file. Counts, sparsities and cost beside `seeds` are those of the first seed."""
        first = self.seeds[0]
        return {
            "method": self.method,
            "model": self.model,
            "dataset": self.dataset,
            "sparsity_requested": self.sparsity_requested,
            "sparsity": self.sparsity,
            "effective_sparsity": first.effective_sparsity,
            "total": first.total,
            "kept": first.kept,
            "layers": [asdict(layer) for layer in first.layers],
            "cost": asdict(first.cost) if first.cost else None,
            "seeds": [seed.to_json() for seed in self.seeds],
            "test_error_mean": self.test_error_mean,
            "test_error_std": self.test_error_std,
        }

    @property
    def sparsity(self) -> float | None:
        """The sparsity that the first seed reached."""
        return self.seeds[0].sparsity

    @property
    def test_error_mean(self) -> float:
        return statistics.fmean(seed.test_error for seed in self.seeds)

    @property
    def test_error_std(self) -> float | None:
        """The sample standard deviation over seeds; None for one seed."""
        return statistics.stdev(seed.test_error for seed in self.seeds) if len(self.seeds) > 1 else None


def read_metrics(folder: Path) -> Metrics | None:
    """Return the content of `metrics.json`, or None before the first seed is finished. Raises ConfigError where it is damaged."""
    path = folder / "metrics.json"
    content = read_json(path)
    try:
        return None if content is None else Metrics.from_json(content)
    except ValueError as error:
        raise damaged(path, error) from error


@dataclass(frozen=True)
class Environment:
    """The content of `env.json`: what a result was made with.

    Attributes:
        dirty: whether files of the program differed from the commit.
        own_files: a hash of each of the user's own Python files, by name.
        weights: a hash of the weights in the file that `pretrained` names.
        engine: the form of the training: `masked`, `stacked` or `sparse` (with the kept weights alone); None before there is one.
        earlier: the environments of earlier attempts, as their versions wrote them.
        wall_seconds: duration of this attempt; None while it lasts.
        images_per_second: mean rate of each seed that this attempt trained, by seed.
    """

    started: str = ""
    command: str = ""
    commit: str | None = None
    dirty: bool | None = None
    host: str = ""
    platform: str = ""
    processors: int | None = None
    python: str = ""
    own_files: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str | None] = field(default_factory=dict)
    device: str = ""
    weights: str | None = None
    engine: str | None = None
    earlier: list[Json] = field(default_factory=list)
    wall_seconds: float | None = None
    images_per_second: dict[str, float] | None = None

    @classmethod
    def from_json(cls, content: Json) -> "Environment":
        """Read `env.json` of any version. Raises ValueError where it is damaged."""
        return read_as(cls, content)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file, without what does not apply to this run."""
        optional = ("weights", "engine", "earlier", "images_per_second")
        return {
            name: value for name, value in vars(self).items() if name not in optional or value not in (None, [], {})
        }
