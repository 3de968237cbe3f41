"""Composed values → `Config` (`load`), and `config.yaml` of a run's folder (`read`, `to_yaml`)."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snip_cli.config.epochs import SCHEDULES, resolve_epochs
from snip_cli.config.fingerprint import default_of
from snip_cli.config.quoting import in_home
from snip_cli.config.renamed import rename_settings
from snip_cli.config.schema import Config
from snip_cli.config.sections import (
    ANNEALS,
    AUTO,
    PERCENT,
    Dataset,
    Init,
    Method,
    Model,
    Schedule,
    check_sparsity,
    require,
    require_value,
)
from snip_cli.errors import ConfigError
from snip_cli.registry import nearest

SECTIONS: dict[str, type] = {
    "schedule": Schedule,
    "dataset": Dataset,
    "model": Model,
    "method": Method,
    "init": Init,
    "init_train": Init,
}
# May be left out.
OPTIONAL_SECTIONS: dict[str, type] = {"dense_schedule": Schedule}
# The schedule that a schedule of the user's own is advised to start from.
START = "cifar_snip"
# Fields of a section that are no settings.
NO_SETTINGS = ("options", "weights_hash")
TYPES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    list[int]: "a list of whole numbers",
}


def load(composed: DictConfig) -> Config:
    """Return the checked configuration of composed values; raise ConfigError."""
    plain = resolved(composed)
    values = {key: value for key, value in plain.items() if key not in ("hydra", "eval", "pretrained")}
    values = rename_settings(values, silent=True)  # a run folder of an earlier version is nobody's mistake
    known = {spec.name: spec for spec in fields(Config)}
    for key in values:
        require(key in known, f"There is no setting '{key}'{nearest(str(key), known)}; `snip-run --help` lists them.")
    require_complete(values, composed)
    dataset = _section("dataset", Dataset, values.get("dataset"))
    values |= {key: resolve_epochs(key, values.get(key), dataset) for key in SCHEDULES if key in values}
    sections = {key: _section(key, schema, values.get(key)) for key, schema in SECTIONS.items()}
    for key, schema in OPTIONAL_SECTIONS.items():
        sections[key] = None if values.get(key) is None else _section(key, schema, values[key])
    if pretrained := plain.get("pretrained"):
        sections["model"] = _pretrained(sections["model"], pretrained)
    sections["dataset"] = replace(sections["dataset"], root=in_home(sections["dataset"].root))
    sections["model"] = replace(sections["model"], weights=in_home(sections["model"].weights))
    if "batch_size" not in values["method"]:
        sections["method"] = replace(sections["method"], batch_size=sections["schedule"].batch_size)
    if sections["method"].ablation == "redraw":  # another name for the setting `redraw`
        sections["method"] = replace(sections["method"], redraw=True, ablation="none")
    # The run folders of earlier versions lack the settings that were added since.
    scalars = [
        spec for key, spec in known.items() if key not in sections and (key in values or spec.default is MISSING)
    ]
    typed = {spec.name: _typed(spec.name, values.get(spec.name), spec.type) for spec in scalars}
    return Config(**sections, **typed | {"output_dir": in_home(typed["output_dir"])})


def resolved(composed: DictConfig) -> dict[Any, Any]:
    """Return composed values with what their interpolations stand for; raise ConfigError."""
    try:
        plain = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        written = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(written, dict)
        require_complete(written, composed)  # a setting that another one refers to may be missing
        raise ConfigError(f"The configuration cannot be resolved: {' '.join(str(error).split())}.") from error
    assert isinstance(plain, dict)
    return plain


def require_complete(values: Mapping[Any, Any] | DictConfig, composed: DictConfig) -> None:
    """Raise ConfigError if the values of a section lack settings that have no default; the error names all of them."""
    for section, schema in {**SECTIONS, **OPTIONAL_SECTIONS}.items():
        own = values.get(section)
        if not isinstance(own, Mapping | DictConfig):
            continue
        missing = [spec.name for spec in fields(schema) if default_of(spec) is MISSING and spec.name not in own]
        names = ", ".join("iterations (or epochs)" if name == "iterations" else name for name in missing)
        remedy = f"add {'them' if len(missing) > 1 else 'it'}"
        file = file_of(composed, section)
        require(bool(not missing or file), f"The configuration of {section} has no {names}: {remedy} to its YAML.")
        if section in SCHEDULES:
            remedy += f", or begin the file with `defaults: [{START}, _self_]`, so that it needs only what differs"
        require(not missing, f"{file} lacks {names}: {remedy}.")


def file_of(composed: DictConfig, section: str) -> str | None:
    """Return the YAML that was chosen for a section, such as `schedule/lenet.yaml`; None if it is not known, as for a finished run."""
    group = "schedule" if section in SCHEDULES else section
    choices = OmegaConf.select(composed, "hydra.runtime.choices") or {}
    choice = choices.get(section if section == group else f"{group}@{section}")
    return choice and f"{group}/{choice}.yaml"


def read(path: Path) -> Config:
    """Return the configuration in the `config.yaml` of a run's folder; raise ConfigError."""
    remedy = "delete it and metrics.json beside it, and the command that trained the run writes both again"
    try:
        composed = OmegaConf.load(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: name a run's folder, as snip-run prints it.") from error
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        reason = "it contains itself" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ConfigError(f"{path} is damaged ({reason}): {remedy}.") from error
    if not isinstance(composed, DictConfig):
        raise ConfigError(f"{path} is damaged (it holds a list, not settings): {remedy}.")
    try:
        return load(composed)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def to_yaml(config: Config) -> str:
    """Return the configuration as YAML, in the form that `read` takes."""
    plain = asdict(config)
    del plain["model"]["weights_hash"]
    for key in SECTIONS:
        plain[key].update(plain[key].pop("options", {}))
    return OmegaConf.to_yaml(OmegaConf.create(plain))


def _section(name: str, schema: type, values: Any) -> Any:
    """Return the dataclass of a section; the keys that it has no field for are the options of the chosen function."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name} must be chosen, as in {name}=NAME; `snip-run --help` lists the choices.")
    specs = {spec.name: spec for spec in fields(schema)}
    own = {key: spec for key, spec in specs.items() if key not in NO_SETTINGS}
    for key, value in values.items():
        require(value != "???", f"{name}.{key} must be given, as in {name}.{key}=VALUE.")
    given = {key: _typed(f"{name}.{key}", values[key], spec.type) for key, spec in own.items() if key in values}
    options = {str(key): value for key, value in values.items() if key not in own}
    if "options" in specs:
        return schema(**given, options=options)
    for key in options:
        raise ConfigError(f"There is no setting '{name}.{key}'{nearest(key, own)}; {name} has: {', '.join(own)}.")
    return schema(**given)


def _pretrained(model: Model, weights: Any) -> Model:
    """Return the model with `pretrained`, the short name of `model.weights`; raise ConfigError where the two differ."""
    weights = _typed("pretrained", weights, str)
    require(
        model.weights in ("", weights),
        f"pretrained={weights} and model.weights={model.weights} name different weights: leave one out.",
    )
    return replace(model, weights=weights)


def _typed(key: str, value: Any, wanted: Any) -> Any:
    """Return `value` as the wanted type, where a whole number may stand for a number; raise ConfigError."""
    if wanted == float | str:  # the sparsity
        if isinstance(value, str) and PERCENT.fullmatch(value):
            check_sparsity(value)
        if isinstance(value, str) and value != AUTO and (hint := nearest(value, [AUTO])):
            raise ConfigError(f"{key} must be a number or {AUTO}: got {value!r}{hint}.")
        wanted = str if value == AUTO else float
    if wanted is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if wanted is str and type(value) in (int, float):
        return str(value)
    if key.endswith("schedule.decay") and value in ANNEALS:
        section = key.removesuffix(".decay")
        raise ConfigError(
            f"{key} is the factor at each milestone, a number in (0, 1]: got {value!r}. Write {section}.anneal={value}."
        )
    if wanted == list[int] and type(value) is int:
        require_value(False, key, value, TYPES[wanted], f"Write '{key}=[{value}]'.")
    is_list_of_int = isinstance(value, list) and all(type(item) is int for item in value)
    require_value(is_list_of_int if wanted == list[int] else type(value) is wanted, key, value, TYPES[wanted])
    return value
