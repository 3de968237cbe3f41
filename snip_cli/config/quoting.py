"""Quotes in overrides, where Hydra's grammar would take a character of the value for itself."""

import os
import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

# The settings whose value can only be a path.
PATHS = ("output_dir", "pretrained", "model.weights", "dataset.root", "dataset.folder", "eval")


def quote_path(override: str, *, several: bool) -> str:
    """Return an override of a path such that Hydra takes its value as it is written; other overrides unchanged.

    Values that Hydra takes as text, lists of values, `null` and values that are quoted already stay as they are.

    Args:
        override: such as `pretrained=ckpt/epoch=3.pt`.
        several: whether commas separate several values, as in a sweep.
    """
    key, equals, value = override.partition("=")
    if not equals or key.lstrip("+") not in PATHS:
        return override
    parsed = _parsed(override)
    if parsed is not None and (parsed.is_sweep_override() or parsed.value() is None or isinstance(parsed.value(), str)):
        return override
    return f"{key}={','.join(map(quoted, value.split(','))) if several else quoted(value)}"


def quoted(value: str) -> str:
    """Return a value in Hydra's quotes."""
    return QuotedString(value, Quote.double).with_quotes()


def as_typed(override: str) -> str | None:
    """Return what to type in a shell so that the value of an override is text; None if its key is wrong."""
    key, _, value = override.partition("=")
    text = f"{key}={quoted(value)}"
    return None if _parsed(text) is None else shlex.quote(text)


def is_text(override: str) -> bool:
    """Return whether Hydra takes the value of an override as text or as a list."""
    parsed = _parsed(override)
    return parsed is not None and (parsed.is_sweep_override() or isinstance(parsed.value(), str | list))


def in_home(path: str) -> str:
    """Return a path with the user's home folder for `~`, which a shell does not replace after `key=`."""
    return os.path.expanduser(path)  # noqa: PTH111 (pathlib raises an error for the name of an unknown user)


def _parsed(override: str) -> Override | None:
    """Return what Hydra makes of an override; None if it cannot read it."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None
