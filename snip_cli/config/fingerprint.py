"""The settings that determine a run's result, and the hash of them that its folder is named by.

Each setting declares on its own dataclass field whether it is hashed (`hashed`). No setting is named in this file.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import MappingProxyType
from typing import Any, Literal

When = Literal["always", "unless default", "never"]


def hashed(when: When, *, name: str | None = None, always_in: str | None = None) -> Mapping[str, Any]:
    """Return the metadata of a dataclass field that says how the setting takes part in the hash of a run's settings.

    A field without this metadata is hashed always. A field with a default must have it.

    Args:
        when: `always`; `unless default`, for a setting that was added after runs had been made, so that the runs that do not
            use it keep their folders; `never`, for a setting that does not change the result.
        name: the name that is hashed, where the setting was renamed later.
        always_in: a section in which the setting is hashed at its default too, as earlier versions did.
    """
    return MappingProxyType({"when": when, "name": name, "always_in": always_in})


def default_of(spec: "Field[Any]") -> Any:
    """Return the default of a dataclass field; MISSING if it has none."""
    return spec.default if spec.default_factory is MISSING else spec.default_factory()


def settings_of(section: Any, *, as_hashed: bool = False, name: str = "") -> dict[str, Any]:
    """Return the settings of a dataclass that determine the result, as nested dictionaries.

    Args:
        section: a configuration, or the section of it that is called `name`.
        as_hashed: use the names that are hashed, and leave out each setting that is not hashed at its default.
    """
    found: dict[str, Any] = {}
    for spec in fields(section):
        value, when = getattr(section, spec.name), spec.metadata.get("when", "always")
        if when == "never" or value is None:
            continue
        is_neutral = when == "unless default" and name != spec.metadata["always_in"] and value == default_of(spec)
        if as_hashed and is_neutral:
            continue
        key = (as_hashed and spec.metadata.get("name")) or spec.name
        if is_dataclass(value):
            found[key] = settings_of(value, as_hashed=as_hashed, name=spec.name)
        elif isinstance(value, dict):
            found[key] = {option: _whole(given) for option, given in value.items()}
        else:
            found[key] = value
    return found


def not_hashed(section: Any, prefix: str = "") -> dict[str, Any]:
    """Return the settings of a dataclass that take no part in the hash, by dotted name."""
    found: dict[str, Any] = {}
    for spec in fields(section):
        value = getattr(section, spec.name)
        if is_dataclass(value):
            found |= not_hashed(value, f"{prefix}{spec.name}.")
        elif spec.metadata.get("when") == "never":
            found[prefix + spec.name] = value
    return found


def _whole(value: Any) -> Any:
    """Return a float without a fractional part as an int, so that an option written as 1 or as 1.0 has one hash."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def digest(settings: Mapping[str, Any]) -> str:
    """Return a hash of settings, as eight hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
