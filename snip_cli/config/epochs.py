"""`epochs` of a schedule → its iterations. A schedule holds one length: `iterations`, a number or, until it is loaded, such as "30 epochs"."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from snip_cli.errors import ConfigError

SCHEDULES = ("schedule", "dense_schedule")
UNIT = " epochs"


def as_iterations(override: str) -> str:
    """Return an override such as `schedule.epochs=30` as `schedule.iterations="30 epochs"`; others unchanged."""
    key, equals, value = override.partition("=")
    section, _, name = key.lstrip("+").rpartition(".")
    if not equals or section not in SCHEDULES or name != "epochs":
        return override
    lengths = ",".join(f'"{length.strip()}{UNIT}"' for length in value.split(","))
    return f"{section}.iterations={lengths}"


def require_one_length(overrides: Sequence[str]) -> None:
    """Raise ConfigError if overrides of the command line give a schedule both epochs and iterations."""
    for section in SCHEDULES:
        lengths = {}
        for override in overrides:
            key, equals, _ = override.lstrip("+").partition("=")
            if equals and key in (f"{section}.epochs", f"{section}.iterations"):
                lengths[key] = override
        if len(lengths) > 1:
            raise ConfigError(
                f"{' and '.join(lengths.values())} both give a length of training: leave one of them out."
            )


def settings_as_iterations(settings: Mapping[Any, Any], section: str, file: str) -> dict[Any, Any]:
    """Return the settings of a YAML file with `iterations` for the `epochs` of its schedules.

    Args:
        settings: those of a section, sections within it included.
        section: the dotted name of the section; empty for a whole configuration.
        file: the file, for errors.

    Raises:
        ConfigError: a schedule has both.
    """
    changed = {
        key: settings_as_iterations(value, f"{section}.{key}".strip("."), file) if isinstance(value, Mapping) else value
        for key, value in settings.items()
    }
    if section in SCHEDULES and changed.get("epochs") is not None:
        if "iterations" in changed:
            raise ConfigError(f"{file} has both epochs and iterations: leave one of them out.")
        changed["iterations"] = f"{changed.pop('epochs')}{UNIT}"
    return changed


def resolve_epochs(section: str, schedule: Any, dataset: Any) -> Any:
    """Return the values of a schedule with `iterations` as a number: so many passes over the training images that are not held out.

    Args:
        section: the schedule's name.
        schedule: its values.
        dataset: the data set, as `sections.Dataset`.

    Raises:
        ConfigError: `epochs` is no positive number, or the number of training images is not known.
    """
    if not isinstance(schedule, Mapping) or not str(schedule.get("iterations")).endswith(UNIT):
        return schedule
    given = str(schedule["iterations"]).removesuffix(UNIT)
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", given) or float(given) <= 0:
        raise ConfigError(f"{section}.epochs must be a number above 0: got {given!r}. Write {section}.epochs=30.")
    if not dataset.train_images:
        raise ConfigError(
            f"{section}.epochs needs the number of training images of dataset '{dataset.name}', which its YAML does not state: add +dataset.train_images=N, or write {section}.iterations=N."
        )
    batch = schedule.get("batch_size")
    if not isinstance(batch, int) or batch < 1:
        return {**schedule, "iterations": 1}  # the batch size is refused
    images = dataset.train_images - round(dataset.train_images * dataset.held_out)
    return {**schedule, "iterations": max(1, round(float(given) * images / batch))}
