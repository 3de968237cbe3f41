"""The options that a user's own methods, models, data sets and initialisers declare in Python; their YAML need not name them."""

import inspect
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from snip_cli import registry
from snip_cli.errors import ConfigError

KINDS = {
    "model": registry.models,
    "dataset": registry.datasets,
    "init": registry.initialisers,
    "init_train": registry.initialisers,
}


def declared_options(config_dir: Path | None, section: str, name: str) -> dict[str, str]:
    """Return the options of a function, with their meanings, which are empty where the function states none.

    Without a folder of the user's own there are none to look for: the YAML of a shipped function names all of its options. So torch is
    imported only where there is such a folder.

    Args:
        config_dir: the folder of the user's own files.
        section: such as `method`.
        name: the registered name of the section's function. A name that nothing is registered for has no options.
    """
    if config_dir is None or section not in ("method", *KINDS):
        return {}
    with suppress(ConfigError):  # a file that cannot be imported is reported by the command that needs it
        registry.load_all(config_dir)
        if section == "method":
            from snip_cli.pruning.method import find_method

            return {spec.name: spec.metadata.get("meaning", "") for spec in fields(find_method(name).options)}
        parameters = inspect.signature(KINDS[section][name]).parameters.values()
        return {each.name: "" for each in parameters if each.kind is each.KEYWORD_ONLY}
    return {}
