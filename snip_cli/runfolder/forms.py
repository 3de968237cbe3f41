"""The content of a JSON file → dataclasses: a value that is missing or of another type is named, instead of failing where it is used."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def read_as(kind: type[Record], content: Any) -> Record:
    """Return the dataclass `kind` with the values that `content` has for its fields; other values are ignored.

    Raises ValueError, which names the field, if a value is missing or not of the annotated type.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{shown(content)} is not an object")
    hints = get_type_hints(kind)
    values = {}
    for spec in fields(kind):  # type: ignore[arg-type]  # mypy cannot tell that a type is that of a dataclass
        if spec.name in content:
            values[spec.name] = content[spec.name]
            if not fits(values[spec.name], hints[spec.name]):
                raise ValueError(f"'{spec.name}' is {shown(values[spec.name])}")
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise ValueError(f"it has no '{spec.name}'")
    return kind(**values)


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of an annotated type, where a whole number may stand for a number."""
    origin, of = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return any(fits(value, one) for one in of)
    if hint is Any:
        return True
    if hint is None or hint is NoneType:
        return value is None
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    if not isinstance(value, origin or hint):
        return False
    if isinstance(value, Mapping):
        return not of or all(fits(key, of[0]) and fits(one, of[1]) for key, one in value.items())
    return not of or all(fits(one, of[0]) for one in value)


def shown(value: Any) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
