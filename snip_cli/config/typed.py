"""Plain values, as YAML gives them → the typed sections of a configuration, with one sentence for what does not fit. Imports no torch."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from snip_cli.config.sections import AUTO, Dataset, Init, Method, Model, Schedule, require
from snip_cli.errors import ConfigError
from snip_cli.registry import nearest

# The schedule first: other sections may take a value from it.
SECTIONS: dict[str, type] = {
    "schedule": Schedule,
    "dataset": Dataset,
    "model": Model,
    "method": Method,
    "init": Init,
    "init_train": Init,
}
# A section that may be left out has its schema here alone.
SCHEMAS: dict[str, type] = SECTIONS | {"dense_schedule": Schedule}


def default_of(section: type, key: str) -> Any:
    """The default of a section's setting."""
    [spec] = [f for f in fields(section) if f.name == key]
    return spec.default if spec.default_factory is MISSING else spec.default_factory()


def section_of(name: str, values: Any) -> Any:
    """The dataclass of one group; keys that it does not have are the options of the chosen function."""
    require(
        isinstance(values, Mapping), f"{name} must be chosen, as in {name}=NAME; `snip-run --help` lists the choices."
    )
    schema = SCHEMAS[name]
    own_fields = {f.name: f for f in fields(schema) if f.name != "options"}
    for key, spec in own_fields.items():
        require(
            key in values or spec.default is not MISSING or spec.default_factory is not MISSING,
            f"The configuration of {name} has no '{key}': add it to its YAML.",
        )
    for key, value in values.items():
        require(value != "???", f"{name}.{key} must be given, as in {name}.{key}=VALUE.")
    own = {key: typed(f"{name}.{key}", values[key], spec.type) for key, spec in own_fields.items() if key in values}
    rest = {str(key): value for key, value in values.items() if key not in own_fields}
    if "options" in {f.name for f in fields(schema)}:
        return schema(**own, options=rest)
    for key in rest:
        raise ConfigError(
            f"There is no setting '{name}.{key}'{nearest(key, own_fields)}; it has: {', '.join(own_fields)}."
        )
    return schema(**own)


WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    list[int]: "a list of whole numbers",
}


def typed(key: str, value: Any, wanted: Any) -> Any:
    """`value` if it is of the wanted type (a whole number will do for a number); raises ConfigError."""
    if wanted == float | str:  # the sparsity
        hint = nearest(value, [AUTO]) if isinstance(value, str) else ""
        require(
            not hint or value == AUTO,
            f"{key} must be a number, or auto where the method finds it, not {value!r}{hint}.",
        )
        wanted = str if value == AUTO else float
    if wanted is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if wanted is str and type(value) in (int, float):
        return str(value)
    list_of_int = isinstance(value, list) and all(type(item) is int for item in value)
    require(
        list_of_int if wanted == list[int] else type(value) is wanted, f"{key} must be {WORDS[wanted]}, not {value!r}."
    )
    return value
