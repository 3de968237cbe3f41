"""The registries of methods, models, data sets and initialisers: each maps a name to a function.

A file registers its functions with a decorator. All files of the packages in `PACKAGES` are imported, and so are the
Python files of a folder given with `--config-dir`.
"""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from snip_cli.errors import ConfigError

# Three such names and the rest of a run's name are not too long for a folder.
LONGEST_NAME = 64

Function = TypeVar("Function", bound=Callable[..., Any])


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint such as ` (did you mean 'sparsity'?)`, or an empty string if no known word is similar."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def _place(function: Callable[..., Any]) -> tuple[str, str]:
    """Return where a function is defined, which does not change when its file is imported again."""
    return function.__module__, function.__qualname__


class Registry:
    """The functions of one kind by name.

    Args:
        kind: what the functions are, in messages.
        parameters: the names of what each function is called with, besides its options; empty if that is checked elsewhere.
    """

    def __init__(self, kind: str, parameters: Sequence[str] = ()) -> None:
        self.kind, self.parameters = kind, parameters
        self._functions: dict[str, Callable[..., Any]] = {}
        self._families: dict[str, Callable[[str], Callable[..., Any]]] = {}

    def register(self, name: str) -> Callable[[Function], Function]:
        """Return a decorator that registers a function as `name`.

        The decorator raises ConfigError if another function has that name, or if no folder can have it.
        """
        if (
            not 1 <= len(name) <= LONGEST_NAME
            or name.startswith(".")
            or not name.isprintable()
            or set(name) & set("/\\")
        ):
            raise ConfigError(
                f"{self.kind} {name!r} cannot be registered, because its name becomes part of a folder's name: "
                f"choose one of at most {LONGEST_NAME} characters, without / and \\, that does not begin with a dot."
            )

        def add(function: Function) -> Function:
            taken = self._functions.get(name)
            if taken is not None and _place(taken) != _place(function):
                raise ConfigError(
                    f"{self.kind} '{name}' is defined twice, in {taken.__module__} and {function.__module__}: rename one of them."
                )
            self._functions[name] = function
            return function

        return add

    def family(self, prefix: str) -> Callable[[Function], Function]:
        """Return a decorator of a function that finds the functions called `prefix.NAME` by their NAME, as in a library."""

        def add(find: Function) -> Function:
            self._families[prefix] = find
            return find

        return add

    def names(self) -> list[str]:
        """Return the registered names, without those of families."""
        return sorted(self._functions)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        prefix, dot, rest = name.partition(".")
        if dot and prefix in self._families and name not in self._functions:
            return self._families[prefix](rest)
        if name not in self._functions:
            raise ConfigError(
                f"There is no {self.kind} '{name}'{nearest(name, self.names())}: choose one of {', '.join(self.names())}, or add your own with --config-dir DIR."
            )
        return self._functions[name]

    def check_options(self, name: str, options: Mapping[str, Any]) -> None:
        """Raise ConfigError if the function `name` is not called as it will be, has no such option, or an option's value
        is not of the annotated type.
        """
        function = self[name]
        signature = inspect.signature(function)
        parameters = signature.parameters
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
                raise ConfigError(f"{self.kind}.{key} must be of type {wanted.__name__}: got {value!r}.")
        if self.parameters:
            require_form(self.kind, name, function, self.parameters, options)


def require_form(
    kind: str, name: str, function: Callable[..., Any], parameters: Sequence[str], options: Iterable[str] = ()
) -> None:
    """Raise ConfigError if a function cannot be called with so many parameters, and options by name.

    Args:
        kind, name: what the function is registered as.
        function: the function.
        parameters: the names of the parameters, for the error.
        options: the names of the options.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(*parameters, **dict.fromkeys(options))
    except TypeError as error:
        called, own = ", ".join(parameters), function.__name__
        starred = "" if "options" in parameters else ", with options after a star"
        raise ConfigError(
            f"{kind} '{name}' is defined as {own}{signature} and will be called as {own}({called}): {error}. Write def {own}({called}):{starred}."
        ) from error


methods = Registry("method")
models = Registry("model", ("shape", "classes"))
datasets = Registry("dataset", ("root",))
initialisers = Registry("init", ("weight", "generator"))


def load_all(folder: Path | None) -> None:
    """Import the files of this project that register functions, and those in the user's folder if it is given."""
    load_builtin()
    if folder is not None:
        load_folder(folder)


# The packages whose files register functions.
PACKAGES = (
    "snip_cli.data",
    "snip_cli.models",
    "snip_cli.pruning.at_init",
    "snip_cli.pruning.after_training",
    "snip_cli.pruning.during_training",
)


def load_builtin() -> None:
    """Import every file of `PACKAGES`."""
    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package_name}.{module.name}")


# The SHA-256 of each user's file that was imported, by its path relative to `--config-dir`.
own_files: dict[str, str] = {}


def load_folder(folder: Path) -> None:
    """Import a user's methods, models and data sets: the Python files in `folder`, and those next to YAML files in its
    subfolders.
    """
    groups = {path.parent for path in folder.glob("*/*.yaml")}
    for path in sorted(path for place in (folder, *groups) for path in place.glob("*.py")):
        # The hash of the path distinguishes two files of the same name.
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
        except BaseException as error:  # also SystemExit
            del sys.modules[name]
            if isinstance(error, ConfigError | KeyboardInterrupt):
                raise
            raise ConfigError(
                f"{path} cannot be imported: {type(error).__name__}: {error}. Correct it or move it out of the folder."
            ) from error
