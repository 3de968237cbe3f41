"""Name → function for methods, models, data sets and initialisers.

A file registers what it offers with a decorator; every file of `snip_cli.data`, `snip_cli.models` and `snip_cli.pruning` is found by
looking, and so is every Python file of a folder given with `--config-dir`.
"""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from snip_cli.errors import ConfigError

Function = TypeVar("Function", bound=Callable[..., Any])


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint such as ` (did you mean 'sparsity'?)`, or an empty string where nothing is near."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def _place(function: Callable[..., Any]) -> tuple[str, str]:
    """Where a function is defined; the same for a file that is imported again."""
    return function.__module__, function.__qualname__


class Registry:
    """The functions of one kind, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._functions: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Function], Function]:
        """Decorator that files a function under `name`; a name can be taken once."""

        def add(function: Function) -> Function:
            taken = self._functions.get(name)
            if taken is not None and _place(taken) != _place(function):
                raise ConfigError(
                    f"{self.kind} '{name}' is defined twice, in {taken.__module__} and {function.__module__}: rename one."
                )
            self._functions[name] = function
            return function

        return add

    def names(self) -> list[str]:
        return sorted(self._functions)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name not in self._functions:
            raise ConfigError(
                f"No {self.kind} is called '{name}'{nearest(name, self.names())}; there are {', '.join(self.names())}, and with --config-dir DIR those of your own."
            )
        return self._functions[name]

    def check_options(self, name: str, options: Mapping[str, Any]) -> None:
        """Raise ConfigError where an option is unknown to the function called `name` or not of the annotated type."""
        parameters = inspect.signature(self[name]).parameters
        known = {p.name: p for p in parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY}
        for key, value in options.items():
            if key not in known:
                raise ConfigError(
                    f"{self.kind} '{name}' has no option '{key}'{nearest(key, known)}; it has: {', '.join(known) or 'none'}."
                )
            wanted = known[key].annotation
            if wanted is float and isinstance(value, int) and not isinstance(value, bool):
                continue
            if wanted in (bool, int, float, str) and type(value) is not wanted:
                raise ConfigError(f"{self.kind}.{key} must be of type {wanted.__name__}, not {value!r}.")


methods = Registry("method")
models = Registry("model")
datasets = Registry("dataset")
initialisers = Registry("init")


def load_all(folder: Path | None) -> None:
    """Import the project's own functions and, if there is a folder of the user's, those in it."""
    load_builtin()
    if folder is not None:
        load_folder(folder)


# Whose files register something.
PACKAGES = (
    "snip_cli.data",
    "snip_cli.models",
    "snip_cli.pruning.at_init",
    "snip_cli.pruning.after_training",
    "snip_cli.pruning.during_training",
)


def load_builtin() -> None:
    """Import every file of the packages that register something."""
    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package_name}.{module.name}")


# The Python files of the user's that were imported, by their path in `--config-dir`, and a hash of each.
own_files: dict[str, str] = {}


def load_folder(folder: Path) -> None:
    """Import a user's own methods, models and data sets: the Python files in `folder` and beside the YAML files in its groups."""
    groups = {path.parent for path in folder.glob("*/*.yaml")}
    for path in sorted(path for place in (folder, *groups) for path in place.glob("*.py")):
        # The path tells two files of the same name apart.
        name = f"snip_user_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
        if name in sys.modules:
            continue
        own_files[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"{path} cannot be imported: {type(error).__name__}: {error}. Mend it or move it out of the folder."
            ) from error
