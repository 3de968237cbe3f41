"""Renamed settings and values. The old spelling stays accepted on the command line, in YAML and in run folders."""

from collections.abc import Mapping
from typing import Any

# Old name → new name.
SETTINGS = {"method.sanity": "method.ablation"}
# Setting → old value → new value.
VALUES = {"replicates": {"together": "stacked"}}

# What was renamed since `notices` was last called: old spelling → new spelling.
_met: dict[str, str] = {}


def rename_override(override: str) -> str:
    """Return an override of the command line, such as `++method.sanity=none,invert`, in the new spelling."""
    name, equals, value = override.partition("=")
    key = name.lstrip("+~")
    prefix = name.removesuffix(key)
    new_value = ",".join(_renamed_value(key, part) for part in value.split(",")) if key in VALUES else value
    return prefix + _renamed_key(key) + equals + new_value


def rename_settings(settings: Mapping[Any, Any], section: str = "", *, silent: bool = False) -> dict[Any, Any]:
    """Return settings in the new spelling; where a setting is given in both, the new one counts.

    Args:
        settings: those of a section, sections within it included.
        section: the dotted name of the section; empty for a whole configuration.
        silent: leave the old spellings out of `notices`.
    """
    renamed: dict[Any, Any] = {}
    for key, value in settings.items():
        path = f"{section}.{key}" if section else str(key)
        if isinstance(value, Mapping):
            value = rename_settings(value, path, silent=silent)
        elif path in VALUES:
            value = _renamed_value(path, value, silent=silent)
        if path not in SETTINGS:
            renamed[key] = value
        elif (new := _renamed_key(path, silent=silent).rpartition(".")[2]) not in settings:
            renamed[new] = value
    return renamed


def notices() -> list[str]:
    """Return one sentence for each old spelling that was met since the last call."""
    sentences = [f"'{old}' is now called '{new}'; the old spelling still works." for old, new in _met.items()]
    _met.clear()
    return sentences


def _renamed_key(path: str, *, silent: bool = False) -> str:
    new = SETTINGS.get(path, path)
    if new != path and not silent:
        _met[path] = new
    return new


def _renamed_value(key: str, value: Any, *, silent: bool = False) -> Any:
    if not isinstance(value, str) or (word := value.strip(" '\"")) not in VALUES[key]:
        return value
    new = VALUES[key][word]
    if not silent:
        _met[f"{key}={word}"] = f"{key}={new}"
    return new
