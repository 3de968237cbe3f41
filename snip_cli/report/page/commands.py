"""The command that made a run → the command that repeats this run alone."""

import shlex
from typing import Any

from snip_cli.report.records import Settings

SWEEP = ("-m", "--multirun")


def alone(command: str, settings: Settings) -> str | None:
    """Return the command that repeats the one run with these settings; None where the command does not tell.

    Of each value that a sweep varies, the run's own is taken. The reference, which belongs to no method, takes the first method. A
    command that names another value, as that of a run which needed this one, does not tell, nor does an experiment.
    """
    try:
        program, *words = shlex.split(command)
    except ValueError:  # empty, or a quotation that is not closed
        return None
    own = []
    for word in words:
        name, is_setting, given = word.partition("=")
        name = name.lstrip("+")
        if word in SWEEP or name.startswith("hydra"):  # the launcher of the sweep
            continue
        if is_setting and not given.startswith(("[", "'", '"')):
            value = _own_value(name, given.split(","), settings)
            if value is None:
                return None
            word = word.replace(f"={given}", f"={value}")
        own.append(word)
    return shlex.join([program, *own]) if own else None


def _own_value(name: str, values: list[str], settings: Settings) -> str | None:
    """Return which of the given values a run has; None where that is not certain."""
    if name == "experiment":
        return None
    if name == "method" and settings["method"] == "reference":
        return values[0]
    held = settings.get(name, settings.get(f"{name}.name"))
    if held is None:
        return values[0] if len(values) == 1 else None
    having = [value for value in values if _is(held, value)]
    return having[0] if len(having) == 1 else None


def _is(held: Any, written: str) -> bool:
    if isinstance(held, bool):
        return written.lower() == str(held).lower()
    if isinstance(held, int | float):
        try:
            return float(written) == held
        except ValueError:
            return False
    return written == held
