"""The options of a pruning method: one frozen dataclass, whose fields hold default, meaning and range."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from snip_cli.errors import ConfigError
from snip_cli.registry import nearest

Options = TypeVar("Options")

TYPE_NAMES: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


@dataclass(frozen=True)
class NoOptions:
    """The options of a method that has none."""


def option(
    default: Any,
    meaning: str,
    *,
    choices: Sequence[Any] | None = None,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
    above: float = -math.inf,
    hyperparameter: bool = True,
    in_steps: bool = True,
) -> Any:
    """A field of an options dataclass.

    Args:
        default: the value in the method's YAML; its type is that of the field's annotation (bool, int, float or str).
        meaning: one phrase for the user.
        choices: the allowed values; any if None.
        at_least, at_most, below, above: the allowed range of a number.
        hyperparameter: whether a plain run depends on it, so that it counts in what the method costs.
        in_steps: whether the steps that the method keeps depend on it. Runs that differ in other options alone share their steps.
    """
    limits = {"at_least": at_least, "at_most": at_most, "below": below, "above": above}
    uses = {"hyperparameter": hyperparameter, "in_steps": in_steps}
    return field(default=default, metadata={"meaning": meaning, "choices": choices, **uses, **limits})


def read_options(schema: type[Options], values: Mapping[str, Any], *, method: str) -> Options:
    """Return the options of `method` with `values` in place of the defaults.

    Raises:
        ConfigError: an unknown option, a value of the wrong type or outside its range, or no value for an option without default.
    """
    known = {spec.name: spec for spec in fields(schema)}  # type: ignore[arg-type]  # every schema is a dataclass
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(
                f"method '{method}' has no option '{name}'{nearest(name, known)}; it has: {', '.join(known) or 'none'}."
            )
        checked[name] = _checked(f"method.{name}", value, known[name])
    missing = [
        name
        for name, spec in known.items()
        if name not in checked and spec.default is MISSING and spec.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(
            f"method '{method}' has no default for its option{'s' * (len(missing) > 1)} {', '.join(missing)}: write {missing[0]}: VALUE in its YAML, or give +method.{missing[0]}=VALUE."
        )
    return schema(**checked)


def _checked(key: str, value: Any, spec: Field[Any]) -> Any:
    """Return `value`, a whole number as float where that is wanted; raises ConfigError if it is not what `spec` allows."""
    if spec.type is float and type(value) is int:
        value = float(value)
    if spec.type in TYPE_NAMES and type(value) is not spec.type:
        raise ConfigError(f"{key} must be {TYPE_NAMES[spec.type]}: got {value!r}.")
    limits = spec.metadata
    if not limits:
        return value
    if limits["choices"] is not None:
        allowed = value in limits["choices"]
    elif isinstance(value, str | bool):
        allowed = True
    else:
        allowed = limits["at_least"] <= value <= limits["at_most"] and limits["above"] < value < limits["below"]
    if not allowed:
        raise ConfigError(f"{key} must be {_allowed(limits)}: got {value!r}.")
    return value


def _allowed(limits: Mapping[str, Any]) -> str:
    """Describe the allowed values, such as `in [0, 1)` or `sum or ema`."""
    if limits["choices"] is not None:
        *first, last = map(str, limits["choices"])
        return f"{', '.join(first)} or {last}" if first else last
    open_below, open_above = limits["above"] > limits["at_least"], limits["below"] < limits["at_most"]
    low, high = max(limits["above"], limits["at_least"]), min(limits["below"], limits["at_most"])
    if high == math.inf:
        return f"above {low:g}" if open_below else f"at least {low:g}"
    if low == -math.inf:
        return f"below {high:g}" if open_above else f"at most {high:g}"
    return f"in {'(' if open_below else '['}{low:g}, {high:g}{')' if open_above else ']'}"
