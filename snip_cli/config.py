"""What a run is told: typed, checked, and with one sentence for everything that is wrong with it.

YAML holds the values and Hydra composes them; here they become frozen dataclasses. Nothing in this file imports torch.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snip_cli.errors import ConfigError
from snip_cli.registry import nearest


def require(condition: bool, sentence: str) -> None:
    """Raise ConfigError with `sentence` unless `condition` holds."""
    if not condition:
        raise ConfigError(sentence)


def check_sparsity(sparsity: float) -> None:
    """Raise ConfigError unless `sparsity` is a number in [0, 1)."""
    number = isinstance(sparsity, int | float) and not isinstance(sparsity, bool)
    sentence = f"sparsity must be a number in [0, 1), the fraction that is removed, not {sparsity!r}: 0.95 keeps 5 %."
    require(number and 0 <= sparsity < 1, sentence)


@dataclass(frozen=True)
class Dataset:
    """A data set's name, where it lies, and the shape that models are built for without reading it."""

    name: str
    root: str
    shape: list[int]
    classes: int
    split_seed: int

    def __post_init__(self) -> None:
        shaped = len(self.shape) == 3 and all(size >= 1 for size in self.shape)
        require(shaped, f"dataset.shape must be [channels, height, width], not {self.shape}.")
        require(self.classes >= 1, f"dataset.classes must be at least 1, not {self.classes}.")
        require(0 <= self.split_seed < 2**32, f"dataset.split_seed must lie in [0, 2^32), not {self.split_seed}.")


@dataclass(frozen=True)
class Model:
    """A model's name and the options of its function."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A method's name, what the pipeline does around it, and the options of its function."""

    name: str
    redraw: bool = True
    batch_size: int = 100
    batches: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, f"method.batch_size must be at least 1, not {self.batch_size}.")
        require(self.batches >= 1, f"method.batches must be at least 1, not {self.batches}.")


@dataclass(frozen=True)
class Init:
    """An initialiser's name and the options of its function."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """How a network is trained, in iterations."""

    name: str
    iterations: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    milestones: list[int]
    decay: float
    evaluate_every: int
    checkpoint_every: int

    def __post_init__(self) -> None:
        for key in ("iterations", "batch_size", "evaluate_every", "checkpoint_every"):
            require(getattr(self, key) >= 1, f"schedule.{key} must be at least 1, not {getattr(self, key)}.")
        require(
            0 < self.learning_rate < math.inf, f"schedule.learning_rate must be positive, not {self.learning_rate}."
        )
        require(0 <= self.momentum < 1, f"schedule.momentum must lie in [0, 1), not {self.momentum}.")
        require(0 <= self.weight_decay < math.inf, f"schedule.weight_decay must be 0 or more, not {self.weight_decay}.")
        require(0 < self.decay <= 1, f"schedule.decay must lie in (0, 1], not {self.decay}.")
        rising = all(a < b for a, b in zip([0, *self.milestones], self.milestones, strict=False))
        require(rising, f"schedule.milestones must be positive and rising, not {self.milestones}.")

    def rate_at(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0: multiplied by `decay` at every milestone that is reached."""
        return self.learning_rate * self.decay ** sum(iteration >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class Config:
    """One run: a network, pruned to one sparsity by one method, trained with `seeds` seeds."""

    dataset: Dataset
    model: Model
    method: Method
    init: Init
    init_train: Init
    schedule: Schedule
    sparsity: float
    seed: int
    seeds: int
    device: str
    dtype: str
    output_dir: str
    dry_run: bool

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        require(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
        require(self.seeds >= 1, f"seeds, the number of replicates, must be at least 1, not {self.seeds}.")
        require(self.device in ("auto", "cpu", "cuda"), f"device must be auto, cpu or cuda, not '{self.device}'.")
        require(self.dtype in ("float32", "float64"), f"dtype must be float32 or float64, not '{self.dtype}'.")
        require(bool(self.output_dir), "output_dir must name a folder, as in output_dir=runs.")
        if not self.method.redraw and not self.is_reference:
            require(
                self.init == self.init_train,
                f"method.redraw=false trains the weights that were scored, so init and init_train must agree: set both to {self.init.name}.",
            )

    @property
    def is_reference(self) -> bool:
        """Whether nothing is pruned, so that no method plays a part."""
        return self.sparsity == 0

    @property
    def method_name(self) -> str:
        return "reference" if self.is_reference else self.method.name

    @property
    def all_seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.seeds))

    @property
    def folder(self) -> Path:
        """The run's folder: readable names and a hash of all that determines the result."""
        identity = json.dumps(self.identity(), sort_keys=True)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        sparsity = [] if self.is_reference else [f"s{self.sparsity!r}"]
        names = [self.method_name, self.model.name, self.dataset.name, *sparsity, f"seed{self.seed}", digest]
        return Path(self.output_dir) / "-".join(names)

    def identity(self) -> dict[str, Any]:
        """All that determines the result, and nothing else: not where it is kept or computed, how many seeds, or how often it is saved."""
        everything = asdict(self)
        for key in ("seeds", "device", "output_dir", "dry_run"):
            del everything[key]
        del everything["dataset"]["root"]
        del everything["schedule"]["name"], everything["schedule"]["checkpoint_every"]
        if self.is_reference:
            for key in ("method", "init", "sparsity"):
                del everything[key]
        for section in everything.values():
            if isinstance(section, dict) and "options" in section:
                section["options"] = {key: _without_point(value) for key, value in section["options"].items()}
        return everything


SECTIONS: dict[str, type] = {
    "dataset": Dataset,
    "model": Model,
    "method": Method,
    "init": Init,
    "init_train": Init,
    "schedule": Schedule,
}


def load(composed: DictConfig) -> Config:
    """The checked configuration of a composed one; raises ConfigError."""
    try:
        plain = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The configuration cannot be resolved: {' '.join(str(error).split())}.") from error
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    plain.pop("eval", None)
    known = {f.name for f in fields(Config)}
    for key in plain:
        require(key in known, f"There is no setting '{key}'{nearest(str(key), known)}; `snip-run --help` lists them.")
    sections = {key: _section(key, plain.get(key)) for key in SECTIONS}
    scalars = {f.name: _typed(f.name, plain.get(f.name), f.type) for f in fields(Config) if f.name not in SECTIONS}
    return Config(**sections, **scalars)


def read(path: Path) -> Config:
    """The configuration that a run left in its folder (`config.yaml`); raises ConfigError."""
    try:
        composed = OmegaConf.load(path)
    except (OSError, YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): name a run's folder, as snip-run prints it.") from error
    require(
        isinstance(composed, DictConfig), f"{path} is no configuration: name a run's folder, as snip-run prints it."
    )
    try:
        return load(composed)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def to_yaml(config: Config) -> str:
    """The configuration as YAML, in the form that `load` reads."""
    plain = asdict(config)
    for key in SECTIONS:
        options = plain[key].pop("options", {})
        plain[key].update(options)
    return OmegaConf.to_yaml(OmegaConf.create(plain))


def _without_point(value: Any) -> Any:
    """A whole number as an int, so that 1 and 1.0 are the same option."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _section(name: str, values: Any) -> Any:
    """The dataclass of one group; keys that it does not have are the options of the chosen function."""
    require(
        isinstance(values, Mapping), f"{name} must be chosen, as in {name}=NAME; `snip-run --help` lists the choices."
    )
    schema = SECTIONS[name]
    typed = {f.name: f for f in fields(schema) if f.name != "options"}
    for key, spec in typed.items():
        require(
            key in values or spec.default is not MISSING,
            f"The configuration of {name} has no '{key}': add it to its YAML.",
        )
    own = {key: _typed(f"{name}.{key}", values[key], spec.type) for key, spec in typed.items() if key in values}
    rest = {str(key): value for key, value in values.items() if key not in typed}
    if "options" in {f.name for f in fields(schema)}:
        return schema(**own, options=rest)
    for key in rest:
        raise ConfigError(f"There is no setting '{name}.{key}'{nearest(key, typed)}; it has: {', '.join(typed)}.")
    return schema(**own)


WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    list[int]: "a list of whole numbers",
}


def _typed(key: str, value: Any, wanted: Any) -> Any:
    """`value` if it is of the wanted type (a whole number will do for a number); raises ConfigError."""
    if wanted is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if wanted is str and type(value) in (int, float):
        return str(value)
    list_of_int = isinstance(value, list) and all(type(item) is int for item in value)
    require(
        list_of_int if wanted == list[int] else type(value) is wanted, f"{key} must be {WORDS[wanted]}, not {value!r}."
    )
    return value
