"""`snip-run --help`, and `snip-run --help schedule` for one section: each setting with its value and its meaning."""

import contextlib
import io
import re
import textwrap
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from snip_cli.config.composition import CONFIG_NAME, Composer
from snip_cli.config.hydra_internals import argument_parser, yaml_of
from snip_cli.config.meanings import MEANINGS, meaning_of
from snip_cli.errors import ConfigError

WIDTH = 150
# Where the meanings begin.
COLUMN = 44
# In the template of configs/hydra/help/snip_run.yaml, where the settings go.
PLACE = "@SETTINGS@"
# Sections that are chosen as files; the other settings belong to the run itself.
SECTIONS = ("schedule", "dense_schedule", "dataset", "model", "init", "init_train", "method")


def sections_asked(flags: Namespace) -> list[str]:
    """Return the words beside `--help` that are sections, and take them out of the overrides."""
    words = [word for word in flags.overrides if "=" not in word]
    for word in words:
        if word not in SECTIONS:
            raise ConfigError(
                f"There is no section '{word}': write `snip-run --help`, or add one of {', '.join(SECTIONS)}."
            )
    flags.overrides = [word for word in flags.overrides if "=" in word]
    return words


def print_help(compose: Composer, flags: Namespace, sections: Sequence[str]) -> None:
    """Print the help for all, or for some sections."""
    composed = compose.compose(flags.overrides)
    if sections:
        for section in sections:
            print("\n".join(section_lines(compose, composed, section)))
        return
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        compose.hydra.app_help(CONFIG_NAME, argument_parser(), flags)
    every = [line for section in ("", *SECTIONS) for line in settings_lines(compose, composed, section)]
    for long in text.getvalue().replace(PLACE, "\n".join(every)).splitlines():
        print("\n".join(wrapped(long)) if len(long) > WIDTH else long)


def section_lines(compose: Composer, composed: DictConfig, section: str) -> Iterator[str]:
    """Yield the choices of a section, its settings, and those that its file does not name."""
    group = "schedule" if section == "dense_schedule" else section
    choices = compose.hydra.config_loader.get_group_options(group)
    chosen = f"{section}=NAME" if section == group else f"{group}@{section}=NAME"
    yield from wrapped(f"{chosen}: {', '.join(choices)}")
    lines = list(settings_lines(compose, composed, section))
    yield from ["", *lines] if lines else []
    own = OmegaConf.select(composed, section) or {}
    settings = {key.split(".")[1]: meaning for key, meaning in MEANINGS.items() if key.startswith(f"{group}.")}
    declared = compose.declared(section, str(own.get("name")))
    others = {key: meaning for key, meaning in {**declared, **settings}.items() if key not in own}
    if others and lines:
        yield ""
        yield "With a plus:"
        for key, meaning in others.items():
            yield from line(f"+{section}.{key}=VALUE", meaning)


def wrapped(long: str) -> list[str]:
    """Wrap a line at WIDTH."""
    return textwrap.wrap(long, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def settings_lines(compose: Composer, composed: DictConfig, section: str) -> Iterator[str]:
    """Yield the settings of a section, or (empty) of the run itself, each as it can be typed, with its meaning."""
    values = OmegaConf.to_container(composed)
    assert isinstance(values, dict)
    own = values if section == "" else values.get(section)
    if not isinstance(own, Mapping):
        return
    group = "schedule" if section == "dense_schedule" else section
    choice = composed.hydra.runtime.choices.get(group if section == group else f"{group}@{section}")
    comments = comments_of(yaml_of(compose.hydra, f"{group}/{choice}")) if section else {}
    named = {f"{section}.{key!s}" if section else str(key): str(key) for key in own}
    meanings = {key: meaning_of(name) or comments.get(key, "") for name, key in named.items()}
    if section and not all(meanings.values()):
        declared = compose.declared(section, str(own.get("name")))
        meanings = {key: meaning or declared.get(key, "") for key, meaning in meanings.items()}
    for name, key in named.items():
        if section or (key != "hydra" and key not in SECTIONS):
            yield from line(f"{name}={written(own[key])}", meanings[key])


def line(setting: str, meaning: str) -> list[str]:
    """Return a setting and its meaning, in as many lines as are needed."""
    text = textwrap.wrap(meaning, WIDTH - COLUMN, break_on_hyphens=False) or [""]
    first = f"{setting:<{COLUMN - 2}}  {text[0]}" if len(setting) <= COLUMN - 2 else setting
    rest = text[1:] if len(setting) <= COLUMN - 2 else text
    return [first.rstrip(), *(" " * COLUMN + each for each in rest if each)]


def written(value: object) -> str:
    """Return a value as it is written after `key=`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace("'", "") if isinstance(value, list) else str(value)


def comments_of(text: str) -> dict[str, str]:
    """Return the comments behind the settings of a YAML file, by the setting's name."""
    return dict(re.findall(r"^(\w+): .*?  # (.*)$", text, flags=re.MULTILINE))
