"""What a run is told: typed, checked, and with one sentence for everything that is wrong with it.

YAML holds the values and Hydra composes them; here they become frozen dataclasses. Nothing in this file imports torch.
"""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snip_cli.config.fingerprint import digest, identity_of, settings_of
from snip_cli.config.sections import Dataset, Init, Method, Model, Schedule, check_sparsity, require
from snip_cli.config.typed import SCHEMAS, SECTIONS, section_of, typed
from snip_cli.errors import ConfigError
from snip_cli.registry import nearest

# bfloat16 is automatic mixed precision: weights, masks and scores stay float32.
DTYPES = ("float32", "float64", "bfloat16")

REPLICATES = ("auto", "together", "apart")


@dataclass(frozen=True)
class Config:
    """One run: a network, pruned to one sparsity by one method, trained with `seeds` seeds."""

    dataset: Dataset
    model: Model
    method: Method
    init: Init
    init_train: Init
    schedule: Schedule
    sparsity: float | str  # a number, or auto
    seed: int
    seeds: int
    device: str
    dtype: str
    output_dir: str
    dry_run: bool
    compile: bool = False
    deterministic: bool = False
    sync_batchnorm: bool = False
    compact: bool = False
    replicates: str = "auto"  # how they are trained: together, apart, or as is faster
    dense_schedule: Schedule | None = None  # of the reference that a method prunes after training; None: as `schedule`

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        require(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
        require(self.seeds >= 1, f"seeds, the number of replicates, must be at least 1, not {self.seeds}.")
        require(self.device in ("auto", "cpu", "cuda"), f"device must be auto, cpu or cuda, not '{self.device}'.")
        known = ", ".join(DTYPES)
        require(self.dtype in DTYPES, f"dtype must be one of {known}, not '{self.dtype}'.")
        require(self.replicates in REPLICATES, f"replicates must be auto, together or apart, not '{self.replicates}'.")
        require(bool(self.output_dir), "output_dir must name a folder, as in output_dir=runs.")
        unknown = [label for label in self.method.classes if not 0 <= label < self.dataset.classes]
        require(
            not unknown,
            f"method.classes names {unknown}, but the classes of {self.dataset.name} are 0 to {self.dataset.classes - 1}: choose among these.",
        )
        self._check_start()

    def _check_start(self) -> None:
        """Raise ConfigError where the weights to start from are missing, or described by two settings that differ."""
        if self.is_reference:
            return
        if self.method.trained and not self.model.weights:
            require(
                (self.dense_schedule or self.schedule).iterations > 0,
                f"method '{self.method.name}' prunes a trained network: give pretrained=FILE, or a schedule of more than 0 iterations for the dense one (dense_schedule.iterations, or schedule.iterations).",
            )
        elif self.dense_schedule is not None:
            raise ConfigError(
                f"dense_schedule trains the network that a method prunes after training, and '{self.method.name}' here has none to train: leave it out."
            )
        if not self.method.redraw and not self.method.trained:
            require(
                self.init == self.init_train,
                f"method.redraw=false trains the weights that were scored, so init and init_train must agree: set both to {self.init.name}.",
            )

    @property
    def is_reference(self) -> bool:
        """Whether nothing is pruned, so that no method plays a part."""
        return self.sparsity == 0

    @property
    def dense(self) -> "Config":
        """The reference run whose trained network a method with `trained` prunes."""
        method = replace(self.method, trained=False)  # plays no part in a reference
        return replace(
            self, sparsity=0.0, method=method, schedule=self.dense_schedule or self.schedule, dense_schedule=None
        )

    @property
    def needs_dense(self) -> bool:
        """Whether the weights to be pruned are those of the reference run."""
        return self.method.trained and not self.is_reference and not self.model.weights

    @property
    def method_name(self) -> str:
        return "reference" if self.is_reference else self.method.name

    @property
    def all_seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.seeds))

    @property
    def folder(self) -> Path:
        """The run's folder: readable names and a hash of all that determines the result."""
        sparsity = [] if self.is_reference else [f"s{self.sparsity}"]
        names = [
            self.method_name,
            self.model.name,
            self.dataset.name,
            *sparsity,
            f"seed{self.seed}",
            digest(self.identity()),
        ]
        return Path(self.output_dir) / "-".join(names)

    def identity(self) -> dict[str, Any]:
        """`settings` as a run's hash has them (`snip_cli.config.fingerprint.identity_of`)."""
        return identity_of(asdict(self))

    def settings(self) -> dict[str, Any]:
        """All that determines the result, and nothing else (`snip_cli.config.fingerprint.settings_of`)."""
        return settings_of(asdict(self))


def load(composed: DictConfig) -> Config:
    """The checked configuration of a composed one; raises ConfigError."""
    try:
        plain = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The configuration cannot be resolved: {' '.join(str(error).split())}.") from error
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    plain.pop("eval", None)
    pretrained = plain.pop("pretrained", "")
    known = {f.name for f in fields(Config)}
    for key in plain:
        require(key in known, f"There is no setting '{key}'{nearest(str(key), known)}; `snip-run --help` lists them.")
    sections = {key: section_of(key, plain.get(key)) for key in SECTIONS}
    if plain.get("dense_schedule") is not None:
        sections["dense_schedule"] = section_of("dense_schedule", plain["dense_schedule"])
    if pretrained:
        sections["model"] = _pretrained(sections["model"], pretrained)
    if "batch_size" not in plain["method"]:  # a batch that the training images suffice for
        sections["method"] = replace(sections["method"], batch_size=sections["schedule"].batch_size)
    if sections["method"].sanity == "redraw":  # another name for it
        sections["method"] = replace(sections["method"], redraw=True, sanity="none")
    # A setting with a default may be missing: a run folder of an earlier version does not name it.
    scalars = [f for f in fields(Config) if f.name not in SCHEMAS and (f.name in plain or f.default is MISSING)]
    return Config(**sections, **{f.name: typed(f.name, plain.get(f.name), f.type) for f in scalars})


def _pretrained(model: Model, weights: Any) -> Model:
    """The model with `pretrained`, the short name of `model.weights`; raises ConfigError where the two differ."""
    weights = typed("pretrained", weights, str)
    require(
        model.weights in ("", weights),
        f"pretrained={weights} and model.weights={model.weights} name different weights: leave one out.",
    )
    return replace(model, weights=weights)


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
