"""Command line → composed configurations, by Hydra; and Hydra's complaints → one sentence with the remedy."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snip_cli.config import schema as configuration
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.registry import nearest

PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries the configurations inside the package; in a checkout, installed or not, they lie beside it.
CONFIGS = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"
CONFIG_NAME = "config"
# Of the extra `launch`; `processes` and `slurm` build on them.
EXTRA_LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")


# What a schedule's YAML computes from its batch size: the iterations of some epochs, and a rate in proportion to the batch.
OmegaConf.register_new_resolver("epochs", lambda epochs, images, batch: round(epochs * images / batch), replace=True)
OmegaConf.register_new_resolver("rate", lambda rate, stated_at, batch: rate * batch / stated_at, replace=True)


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its configuration and the overrides that compose it."""

    config: Config
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """Several jobs, and Hydra's master configuration, which names the launcher."""

    master: DictConfig
    jobs: list[Job]


@contextmanager
def composer(config_dir: Path | None) -> Iterator["Composer"]:
    """A composer over the project's configurations and, before them, those of a user's folder."""
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(
            f"--config-dir {config_dir}: there is no such folder; name the one that holds your YAML and Python files."
        )
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="snip-run"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        if config_dir is not None:
            hydra.config_loader.get_search_path().prepend("command-line", f"file://{config_dir.resolve()}")
            # The repositories were made from the search path when Hydra started.
            hydra.config_loader.repository.initialize_sources(hydra.config_loader.get_search_path())
        yield Composer(hydra)


class Composer:
    """Composes overrides into configurations; every failure is a ConfigError."""

    def __init__(self, hydra: Hydra) -> None:
        self.hydra = hydra

    def compose(
        self, overrides: Sequence[str], mode: RunMode = RunMode.RUN, typed: Sequence[str] | None = None
    ) -> DictConfig:
        """The composed configuration, Hydra's own part included; `typed` are the overrides of the command, if these are one job's."""
        try:
            return self.hydra.compose_config(CONFIG_NAME, list(overrides), run_mode=mode)
        except (HydraException, OmegaConfBaseException, YAMLError, AssertionError) as error:
            raise ConfigError(self.explain(error, typed or overrides)) from error

    def is_sweep(self, overrides: Sequence[str]) -> bool:
        """Whether an experiment among the overrides asks for a sweep by itself (`hydra.mode: MULTIRUN`), or a launcher is chosen.

        Hydra launches sweeps only: a single run would be done here, whatever launcher it names.
        """
        hydra = self.compose(overrides, RunMode.MULTIRUN).hydra
        return hydra.mode == RunMode.MULTIRUN or hydra.runtime.choices["hydra/launcher"] != "basic"

    def sweep(self, overrides: Sequence[str]) -> Sweep:
        """All jobs of a sweep, in the order in which they run."""
        master = self.compose([*overrides, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
        params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
        parser = OverridesParser.create(config_loader=self.hydra.config_loader)
        try:
            parsed = parser.parse_overrides([*params, *master.hydra.overrides.task])
            [batch] = BasicSweeper.split_arguments(parsed, None)
        except HydraException as error:
            raise ConfigError(self.explain(error, overrides)) from error
        jobs = []
        for job in batch:
            composed = self.compose([*job, "hydra.mode=RUN"], typed=overrides)
            if composed.eval is not None:
                raise ConfigError("eval evaluates one finished run: leave out -m and experiments that sweep.")
            jobs.append(Job(configuration.load(composed), tuple(job)))
        return Sweep(master, jobs)

    def explain(self, error: Exception, overrides: Sequence[str]) -> str:
        """One sentence for what Hydra refuses, with the remedy."""
        text = str(error)
        if isinstance(error, MissingConfigException):
            return missing_choice(error)
        if isinstance(error, OverrideParseException):
            return f"'{error.override}' cannot be read as a setting: write key=value, and quote what the shell would take for itself."
        if match := re.search(r"Ambiguous value for argument '(.+?)'", text):
            key = match[1].partition("=")[0]
            if key == "seeds":
                return f"'{match[1]}' holds several values, but seeds is how many: write seeds=3 for the seeds 0, 1 and 2, seed=5 for the first."
            return f"'{match[1]}' holds several values: add -m to run them all."
        if match := re.search(r"Could not append to config\. An item is already at '(.+?)'", text):
            return f"'{match[1]}' is there already: write {match[1]}=VALUE without a plus."
        if match := re.search(r"Could not override '(.+?)'", text):
            key = match[1]
            if key.startswith("method.") and any(re.match("method=.*,", override) for override in overrides):
                return f"'{key}' is not known in a sweep over methods: write ++{key}=VALUE if all of them have it, and give the method a command of its own if not."
            return missing_setting(key, self.known_keys(overrides, key))
        return " ".join(text.split())

    def known_keys(self, overrides: Sequence[str], unknown: str) -> list[str]:
        """Every key that an override could name, with the groups chosen as far as they can be."""
        rest = [
            override for override in overrides if override.split("=")[0].lstrip("+~") != unknown and "," not in override
        ]
        try:
            composed = self.hydra.compose_config(CONFIG_NAME, rest, run_mode=RunMode.RUN)
        except (HydraException, OmegaConfBaseException):
            composed = self.hydra.compose_config(CONFIG_NAME, [], run_mode=RunMode.RUN)
        return list(
            flat_keys(
                OmegaConf.to_container(OmegaConf.masked_copy(composed, [str(k) for k in composed if k != "hydra"]))
            )
        )


def flat_keys(tree: object, prefix: str = "") -> Iterator[str]:
    """Dotted names of all nodes of nested dictionaries."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield f"{prefix}{key}"
            yield from flat_keys(value, f"{prefix}{key}.")


def missing_setting(key: str, known: Sequence[str]) -> str:
    """One sentence for a setting that does not exist: of a section that does exist, with all that the section has."""
    section, _, name = key.rpartition(".")
    siblings = [each.rpartition(".")[2] for each in known if section and each.rpartition(".")[0] == section]
    if not siblings:
        return f"There is no setting '{key}'{nearest(key, known)}; `snip-run --help` lists them."
    return f"There is no setting '{key}'{nearest(name, siblings)}; {section} has: {', '.join(siblings)}."


def missing_choice(error: MissingConfigException) -> str:
    """One sentence for a group choice that does not exist."""
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    if group == "hydra/launcher" and choice in EXTRA_LAUNCHERS:
        return "This launcher is not installed here: pip install 'snip-run[launch]'."
    options = list(error.options or [])
    if not group or not options:
        return " ".join(str(error).split())
    return f"There is no {group} '{choice}'{nearest(choice, options)}; choose one of {', '.join(options)}."
