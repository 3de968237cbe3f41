"""Command line → composed configurations, by Hydra; and Hydra's errors → sentences that name the remedy."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snip_cli.config.epochs import as_iterations, require_one_length
from snip_cli.config.hydra_internals import Hydra, named_choice, open_hydra, split_sweep
from snip_cli.config.quoting import PATHS, as_typed, is_text
from snip_cli.config.reading import NO_SETTINGS, OPTIONAL_SECTIONS, SECTIONS, file_of, load, require_complete
from snip_cli.config.renamed import rename_override
from snip_cli.config.schema import Config
from snip_cli.config.sections import ANNEALS
from snip_cli.errors import ConfigError
from snip_cli.registry import nearest

PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries the configurations inside the package; in a checkout, installed or not, they lie beside it.
CONFIGS = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"
CONFIG_NAME = "config"
# Of the extra `launch`; `processes` and `slurm` build on them.
EXTRA_LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")

# Pixels on the shorter side of an image from which on a stem for ImageNet is not unusual.
SMALL = 64

# The settings whose value is a list.
LISTS = ("schedule.milestones", "dense_schedule.milestones", "dataset.shape", "dataset.sizes", "method.classes")

# (section, name of its function) → the function's options with their meanings. It imports torch, which this room must not.
Declared = Callable[[str, str], Mapping[str, str]]

# What Hydra and OmegaConf raise for overrides and files of the user's.
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, AssertionError, ValueError, TypeError, RecursionError)

# For the YAML of schedules: epochs → iterations, and a learning rate in proportion to the batch size.
OmegaConf.register_new_resolver("epochs", lambda epochs, images, batch: round(epochs * images / batch), replace=True)
OmegaConf.register_new_resolver("rate", lambda rate, stated_at, batch: rate * batch / stated_at, replace=True)


@dataclass(frozen=True)
class Job:
    """One run of a sweep, and the overrides that compose it."""

    config: Config
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """The jobs of a sweep, Hydra's master configuration, which names the launcher, and what is unusual about the jobs."""

    master: DictConfig
    jobs: list[Job]
    notes: list[str]


@contextmanager
def composer(config_dir: Path | None, declared: Declared = lambda section, name: {}) -> Iterator["Composer"]:
    """Return a composer over the project's YAML files; those in the user's folder `config_dir` take precedence.

    `declared` finds the options of a user's own function, for errors and help.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(
            f"--config-dir must be a folder: got {config_dir}. Name the one with your YAML and Python files."
        )
    with open_hydra(CONFIGS, config_dir) as hydra:
        yield Composer(hydra, config_dir, declared)


class Composer:
    """Composes overrides into configurations; every failure is a ConfigError."""

    def __init__(self, hydra: Hydra, config_dir: Path | None, declared: Declared) -> None:
        self.hydra, self.config_dir, self.declared = hydra, config_dir, declared

    def compose(
        self, overrides: Sequence[str], mode: RunMode = RunMode.RUN, typed: Sequence[str] | None = None
    ) -> DictConfig:
        """Return the composed values, Hydra's own included.

        Args:
            overrides: those to compose, in the present spelling.
            mode: MULTIRUN accepts several values for one setting.
            typed: the overrides that the user typed, where `overrides` are those of one job of a sweep.
        """
        try:
            return self.hydra.compose_config(CONFIG_NAME, list(overrides), run_mode=mode)
        except ConfigError:
            raise
        except REFUSALS as error:
            raise ConfigError(self.explain(error, typed or overrides)) from error

    def is_sweep(self, overrides: Sequence[str]) -> bool:
        """Whether the overrides ask for a sweep without `-m`: by an experiment (`hydra.mode: MULTIRUN`) or a launcher.

        Hydra launches sweeps only: a single run would be done in this process, whatever launcher it names.
        """
        hydra = self.compose(overrides, RunMode.MULTIRUN).hydra
        return bool(hydra.mode == RunMode.MULTIRUN or hydra.runtime.choices["hydra/launcher"] != "basic")

    def sweep(self, overrides: Sequence[str]) -> Sweep:
        """Return all jobs of a sweep, in the order in which they run."""
        master = self.compose([*overrides, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
        given = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
        require_one_length(given)
        params = [as_iterations(rename_override(override)) for override in given]
        for override in (*params, *master.hydra.overrides.task):
            refuse_split_list(override)
        try:
            split = split_sweep(self.hydra, [*params, *master.hydra.overrides.task])
        except HydraException as error:
            raise ConfigError(self.explain(error, overrides)) from error
        jobs: list[Job] = []
        notes: list[str | None] = []
        for job in split:
            composed = self.compose([*job, "hydra.mode=RUN"], typed=overrides)
            if composed.eval is not None:
                raise ConfigError("eval evaluates one finished run: leave out -m and experiments that sweep.")
            config = load(composed)
            jobs.append(Job(config, tuple(job)))
            notes += [self.unusual(composed), small_images(config)]
        return Sweep(master, jobs, [note for note in dict.fromkeys(notes) if note])

    def unusual(self, composed: DictConfig) -> str | None:
        """Say that a model gets a data set with images of another shape than those of its own data set, the one that its YAML names."""
        choices = composed.hydra.runtime.choices
        model, dataset = choices["model"], choices["dataset"]
        usual = named_choice(self.hydra, f"model/{model}", "dataset")
        if usual is None or usual == dataset:
            return None
        shapes = [tuple(each.dataset.shape) for each in (self.compose([f"model={model}"]), composed)]
        if shapes[0] == shapes[1]:
            return None
        own, given = ("×".join(map(str, shape)) for shape in shapes)
        return f"unusual: model={model} is meant for dataset={usual} ({own}) and gets dataset={dataset} ({given})"

    def explain(self, error: Exception, overrides: Sequence[str]) -> str:
        """Return what is wrong with the overrides that Hydra refuses, and what to write instead."""
        text = str(error)
        if isinstance(error, MissingConfigException):
            return self.missing_choice(error)
        if isinstance(error, OverrideParseException):
            given = str(error.override)
            if "=" in given and (typed := as_typed(given)):
                return f"The value in '{given}' has characters with a meaning of their own: to take it as text, write {typed}"
            return f"'{given}' is not a setting: write key=value."
        if match := re.search(r"Ambiguous value for argument '(.+?)'", text):
            remedy = "add -m to run them all."
            if match[1].startswith("seeds="):
                remedy = "seeds is how many: write seeds=3 for the seeds 0, 1 and 2, or seed=5 for seed 5 alone."
            elif (key := match[1].partition("=")[0].lstrip("+")) in LISTS:
                remedy = f"it is one list: write '{key}=[{match[1].partition('=')[2]}]'."
            elif key in PATHS:
                remedy = f"add -m to run them all, or write {as_typed(match[1])} for one path with a comma."
            return f"'{match[1]}' has several values: {remedy}"
        if match := re.search(r"Could not append to config\. An item is already at '(.+?)'", text):
            return f"'{match[1]}' exists already: write {match[1]}=VALUE without a plus."
        if match := re.search(r"Could not override '(.+?)'", text):
            key = match[1]
            if key.startswith("method.") and any(re.match("method=.*,", override) for override in overrides):
                remedy = f"write ++{key}=VALUE if all of them have it, or else run the methods in separate commands."
                return f"'{key}' is not known in a sweep over methods: {remedy}"
            composed = self.composed_without(key, overrides)
            own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            known = list(flat_keys(OmegaConf.to_container(own)))
            return self.unnamed_setting(key, composed, overrides) or missing_setting(key, known)
        if "Config group override must be" in text and (sentence := self.no_choice(overrides)):
            return sentence
        return " ".join(text.split())

    def no_choice(self, overrides: Sequence[str]) -> str | None:
        """Return the error for the first override that gives a group something else than the name of a choice."""
        for override in overrides:
            key, _, value = override.lstrip("+").partition("=")
            group = key.partition("@")[0]
            options = self.hydra.config_loader.get_group_options(group) if group else []
            if options and not is_text(override):
                return self.unknown_choice(group, value, options)
            if not group:
                return f"'{override}' is not a setting: write key=value."
        return None

    def missing_choice(self, error: MissingConfigException) -> str:
        """Return the error for a choice that its group does not have."""
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        if group == "hydra/launcher" and choice in EXTRA_LAUNCHERS:
            return "This launcher is not installed here: pip install 'snip-run[launch]'."
        options = list(error.options or [])
        if not group or not options:
            return " ".join(str(error).split())
        if group == "schedule" and choice in ANNEALS:
            return f"There is no schedule '{choice}': write schedule.anneal={choice} to let the rate of any schedule fall so."
        return self.unknown_choice(group, choice, options)

    def unknown_choice(self, group: str, choice: str, options: Sequence[str]) -> str:
        """Return the error for a choice that is not one of a group's, with where Hydra looks for one of the user's own."""
        known = ", ".join(options)
        if group.startswith("hydra/"):
            own = ""
        elif self.config_dir is None:
            own = ", or add your own with --config-dir DIR"
        else:
            own = f", or add your own as {self.config_dir / group / choice}.yaml"
        return f"There is no {group} '{choice}'{nearest(choice, options)}; choose one of {known}{own}."

    def unnamed_setting(self, key: str, composed: DictConfig, overrides: Sequence[str]) -> str | None:
        """Return the error for a setting that a section has and its YAML does not name; None if the section has no such setting.

        Raises ConfigError if the setting has no default, so that the YAML must name it.
        """
        section, _, name = key.partition(".")
        schema, file = {**SECTIONS, **OPTIONAL_SECTIONS}.get(section), file_of(composed, section)
        values = composed.get(section)
        if schema is None or file is None or not isinstance(values, DictConfig) or name in values:
            return None
        require_complete(composed, composed)
        settings = [spec.name for spec in fields(schema) if spec.name not in NO_SETTINGS]
        if name not in settings and name not in self.declared(section, str(values.get("name"))):
            return None
        given = next(each for each in overrides if each.partition("=")[0] == key)
        is_own = self.config_dir is not None and (self.config_dir / file).is_file()
        line = ", or give it a line in that file" if is_own else ""
        return f"{file} does not name '{name}', which {section} has: write {shlex.quote(f'+{given}')}{line}."

    def composed_without(self, unknown: str, overrides: Sequence[str]) -> DictConfig:
        """Return the values without the override of an unknown setting, under the chosen groups as far as they compose."""
        named = {override: override.partition("=")[0].lstrip("+~") for override in overrides if "," not in override}
        rest = [override for override, key in named.items() if key != unknown]
        try:
            return self.hydra.compose_config(CONFIG_NAME, rest, run_mode=RunMode.RUN)
        except REFUSALS:
            return self.hydra.compose_config(CONFIG_NAME, [], run_mode=RunMode.RUN)


def small_images(config: Config) -> str | None:
    """Say that a network of a library has a stem for ImageNet, which shrinks images at once, and gets small ones."""
    _, height, width = config.dataset.shape
    if config.model.options.get("stem") != "imagenet" or min(height, width) >= SMALL:
        return None
    return (
        f"unusual: model.stem=imagenet is meant for larger images than the {height}×{width} pixels of dataset={config.dataset.name}: "
        "model.stem=cifar is probably wanted (ResNets, DenseNets, MobileNets and EfficientNets have it)"
    )


def refuse_split_list(override: str) -> None:
    """Raise ConfigError for numbers with commas between them where a list is wanted: each would be the list of a job."""
    key, _, value = override.partition("=")
    if key.lstrip("+") in LISTS and re.fullmatch(r"[\d\s]+(,[\d\s]+)+", value):
        lists = ",".join(f"[{each.strip()}]" for each in value.split(","))
        raise ConfigError(
            f"{key.lstrip('+')} must be a list of whole numbers: got {value}. Write '{key}=[{value}]', or '{key}={lists}' for a run with each."
        )


def flat_keys(tree: object, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all nodes of nested dictionaries."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield f"{prefix}{key}"
            yield from flat_keys(value, f"{prefix}{key}.")


def missing_setting(key: str, known: Sequence[str]) -> str:
    """Return the error for a setting that does not exist, with the settings of its section if the section exists."""
    section, _, name = key.rpartition(".")
    siblings = [each.rpartition(".")[2] for each in known if section and each.rpartition(".")[0] == section]
    if not siblings:
        return f"There is no setting '{key}'{nearest(key, known)}; `snip-run --help` lists them."
    return f"There is no setting '{key}'{nearest(name, siblings)}; {section} has: {', '.join(siblings)}."
