"""The private parts of Hydra (`hydra._internal`) that this project needs. No other file may import them.

Tried with hydra-core 1.3.8 (`>=1.3.8,<1.4` is required). Another version may need changes here.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra as Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.default_element import GroupDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from snip_cli.config.epochs import settings_as_iterations
from snip_cli.config.renamed import rename_settings
from snip_cli.errors import ConfigError


class Repository(ConfigRepository):
    """Hydra's source of YAML files, with renamed settings brought to their new spelling file by file.

    In composed values it would be too late: there, nobody knows which of two spellings overrides the other.
    """

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return the content of the YAML file called `config_path`, None if there is no such file.

        Raises ConfigError if it holds no settings.
        """
        try:
            result = super().load_config(config_path) or self._of_library(config_path)
        except Exception as error:  # PyYAML and OmegaConf raise almost anything for a file of something else
            reason = " ".join(str(error).split())
            raise ConfigError(f"{self._file(config_path)} cannot be read as YAML ({reason}): correct it.") from error
        if result is None or config_path.startswith("hydra/"):
            return result
        if not isinstance(result.config, DictConfig):
            raise ConfigError(f"{self._file(config_path)} must hold settings, as in key: value. It holds a list.")
        written = OmegaConf.to_container(result.config, resolve=False)
        assert isinstance(written, dict)
        package = result.header.get("package")
        group = config_path.rpartition("/")[0].replace("/", ".")
        section = group if package is None else package.replace("_global_", "")
        renamed = settings_as_iterations(rename_settings(written, section), section, self._file(config_path))
        if renamed != written:
            result.config = OmegaConf.create(renamed)
        return result

    def _of_library(self, config_path: str) -> ConfigResult | None:
        """Return the YAML of a model of a library, such as `model/torchvision/resnet18`: that of `any`, with its name."""
        folder, _, name = config_path.rpartition("/")
        result = super().load_config(f"{folder}/any") if folder.startswith("model/") else None
        if result is not None and isinstance(result.config, DictConfig):
            result.config["name"] = f"{folder.rpartition('/')[2]}.{name}"
        return result

    def _file(self, config_path: str) -> str:
        paths = [source.path for source in self.get_sources() if source.is_config(config_path)]
        return "/".join([*paths[:1], f"{config_path}.yaml"])


@contextmanager
def open_hydra(configs: Path, config_dir: Path | None) -> Iterator[Hydra]:
    """Start Hydra on the YAML files in `configs` and, with precedence, in the user's folder `config_dir`."""
    with initialize_config_dir(str(configs), version_base="1.3", job_name="snip-run"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None and isinstance(hydra.config_loader, ConfigLoaderImpl)
        search_path = hydra.config_loader.get_search_path()
        if config_dir is not None:
            search_path.prepend("command-line", f"file://{config_dir.resolve()}")
        hydra.config_loader.repository = Repository(search_path)
        yield hydra


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of Hydra's own flags."""
    parser: argparse.ArgumentParser = get_args_parser()
    return parser


def split_sweep(hydra: Hydra, overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job of a sweep, in the order in which the jobs run."""
    parser = OverridesParser.create(config_loader=hydra.config_loader)
    [jobs] = BasicSweeper.split_arguments(parser.parse_overrides(list(overrides)), None)
    return [list(job) for job in jobs]


def named_choice(hydra: Hydra, file: str, group: str) -> str | None:
    """Return the choice of a group that the YAML file called `file`, such as `model/vgg_d`, names in its defaults list."""
    assert isinstance(hydra.config_loader, ConfigLoaderImpl)
    result = hydra.config_loader.repository.load_config(file)
    for default in (result.defaults_list if result else None) or ():
        if isinstance(default, GroupDefault) and default.override and (default.group or "").strip("/") == group:
            return str(default.value)
    return None


def yaml_of(hydra: Hydra, file: str) -> str:
    """Return the text of the YAML file called `file`, such as `model/vgg_d`; empty if there is none."""
    assert isinstance(hydra.config_loader, ConfigLoaderImpl)
    for source in hydra.config_loader.repository.get_sources():
        if source.scheme() == "file" and source.is_config(file):
            return (Path(source.path) / f"{file}.yaml").read_text(encoding="utf-8")
    folder, _, name = file.rpartition("/")
    return yaml_of(hydra, f"{folder}/any") if folder.count("/") and name != "any" else ""


def make_launcher(hydra: Hydra, master: DictConfig, task: TaskFunction) -> Any:
    """Return the launcher that the master configuration names, set up to do `task` for each job."""
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(master))
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=master)
