"""`Config`: all that one run is asked to do, typed and checked."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from snip_cli.config.fingerprint import digest, hashed, settings_of
from snip_cli.config.sections import (
    Dataset,
    Init,
    Method,
    Model,
    Schedule,
    check_sparsity,
    require,
    require_choice,
    require_value,
)

# bfloat16 is automatic mixed precision: weights, masks and scores stay float32.
DTYPES = ("float32", "float64", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
REPLICATES = ("auto", "stacked", "apart")


@dataclass(frozen=True)
class Config:
    """One run: a network, pruned to one sparsity by one method, and trained with `seeds` seeds.

    Attributes:
        init: initialises the weights that are scored.
        init_train: initialises the weights that are trained.
        sparsity: a number in [0, 1), or `auto`.
        replicates: train the seeds stacked, apart, or (`auto`) in the way that is faster.
        dense_schedule: the schedule of the reference that a method prunes after training; None: `schedule`.
    """

    dataset: Dataset
    model: Model
    method: Method
    init: Init
    init_train: Init
    schedule: Schedule
    sparsity: float | str
    seed: int
    seeds: int = field(metadata=hashed("never"))
    device: str = field(metadata=hashed("never"))
    dtype: str
    output_dir: str = field(metadata=hashed("never"))
    dry_run: bool = field(metadata=hashed("never"))
    compile: bool = field(default=False, metadata=hashed("never"))
    deterministic: bool = field(default=False, metadata=hashed("never"))
    sync_batchnorm: bool = field(default=False, metadata=hashed("unless default"))
    compact: bool = field(default=False, metadata=hashed("never"))
    replicates: str = field(default="auto", metadata=hashed("never"))
    dense_schedule: Schedule | None = field(default=None, metadata=hashed("unless default"))

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        require_value(self.seed >= 0, "seed", self.seed, "0 or more")
        require_value(self.seeds >= 1, "seeds, the number of replicates,", self.seeds, "at least 1")
        require_choice("device", self.device, DEVICES)
        require_choice("dtype", self.dtype, DTYPES)
        require_choice("replicates", self.replicates, REPLICATES)
        require_value(bool(self.output_dir), "output_dir", self.output_dir, "a folder", "Write output_dir=runs.")
        unknown = [label for label in self.method.classes if not 0 <= label < self.dataset.classes]
        labels = f"classes of {self.dataset.name}, 0 to {self.dataset.classes - 1}"
        require_value(not unknown, "method.classes", unknown, labels)
        self._check_start()

    def _check_start(self) -> None:
        """Raise ConfigError if the weights to start from are missing, or two settings describe different ones."""
        if self.is_reference:
            return
        if self.method.trained and not self.model.weights:
            require(
                (self.dense_schedule or self.schedule).iterations > 0,
                f"method '{self.method.name}' prunes a trained network, and the schedule of the reference has 0 iterations: "
                "raise dense_schedule.iterations or schedule.iterations, or write pretrained=FILE.",
            )
        else:
            require(
                self.dense_schedule is None,
                "dense_schedule trains the reference that a method prunes, and "
                f"method '{self.method.name}' trains none here: leave dense_schedule out.",
            )
        if not self.method.redraw and not self.method.trained:
            require(
                self.init == self.init_train,
                "method.redraw=false trains the weights that were scored, so init and init_train must agree: "
                f"got {self.init.name} and {self.init_train.name}, or different options. Set both to {self.init.name}.",
            )

    @property
    def is_reference(self) -> bool:
        """Whether nothing is pruned, so that the method does not matter."""
        return self.sparsity == 0

    @property
    def reference(self) -> "Config":
        """The reference run whose trained network a method with `trained` prunes."""
        method = replace(self.method, trained=False)  # the method does not matter in a reference
        schedule = self.dense_schedule or self.schedule
        return replace(self, sparsity=0.0, method=method, schedule=schedule, dense_schedule=None)

    @property
    def needs_reference(self) -> bool:
        """Whether the weights to prune are those of the reference run."""
        return self.method.trained and not self.is_reference and not self.model.weights

    @property
    def method_name(self) -> str:
        return "reference" if self.is_reference else self.method.name

    @property
    def all_seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.seeds))

    @property
    def folder(self) -> Path:
        """The run's folder: readable names and a hash of all settings that determine the result."""
        sparsity = [] if self.is_reference else [f"s{self.sparsity}"]
        names = [self.method_name, self.model.name, self.dataset.name, *sparsity, f"seed{self.seed}"]
        return Path(self.output_dir) / "-".join([*names, digest(self.identity())])

    def identity(self) -> dict[str, Any]:
        """Return `settings` in the form that is hashed (`snip_cli.config.fingerprint.hashed`).

        Raises:
            RuntimeError: `model.weights` is set and `model.weights_hash` is not, so that the name would be wrong.
        """
        identity = self._relevant(settings_of(self, as_hashed=True))
        if self.model.weights:
            if not self.model.weights_hash:
                raise RuntimeError("model.weights_hash is not set: pass the configuration through `with_weights_hash`.")
            identity["model"]["weights"] = self.model.weights_hash
        return identity

    def settings(self) -> dict[str, Any]:
        """Return all settings that determine the result, as nested dictionaries."""
        return self._relevant(settings_of(self))

    def _relevant(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return settings without the sections that do not change the result of this run."""
        if self.is_reference:
            irrelevant = {"method", "init", "sparsity", "dense_schedule"}
        elif self.method.trained:  # the weights that are scored were initialised by init_train
            irrelevant = {"init"}
        else:
            irrelevant = set()
        return {key: value for key, value in settings.items() if key not in irrelevant}
