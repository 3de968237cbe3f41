"""Imports go one way from room to room, no file is in a circle, and every room says what it may import."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.snip_run import ROOT

PACKAGE = ROOT / "snip_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES} - {PACKAGE})

LOWEST = {"registry", "errors"}
LOW = LOWEST | {"config", "runtime"}
MIDDLE = LOW | {"models", "data", "runfolder"}
# What each room may import, besides itself.
MAY_IMPORT = {
    "errors": set(),
    "registry": {"errors"},
    "config": LOWEST,
    "runtime": LOWEST,
    "models": LOW,
    "data": LOW,
    "runfolder": LOW,
    "report": LOW | {"runfolder"},
    "pruning": MIDDLE,
    "training": MIDDLE | {"pruning"},
    "compact": MIDDLE | {"pruning", "training"},
    "run": MIDDLE | {"pruning", "training", "compact"},
    "commands": MIDDLE | {"pruning", "training", "compact", "run", "report"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported_modules(path: Path) -> dict[str, int]:
    """The modules of this project that a file imports anywhere, also inside functions, with a line number."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from package import name` imports a module if there is one of that name, else the package itself.
            names = [name if name in MODULES else str(node.module) for name in inside]
        else:
            continue
        found |= {name: node.lineno for name in names if name in MODULES and name != "snip_cli"}
    return found


IMPORTS = {name: imported_modules(path) for name, path in MODULES.items()}


def room(module: str) -> str:
    """The folder below snip_cli, or the file at its root, that a module belongs to."""
    return module.split(".")[1]


def test_the_root_holds_four_files_and_rooms():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "errors.py", "registry.py"}
    assert {path.name for path in FOLDERS if path.parent == PACKAGE} == MAY_IMPORT.keys() - LOWEST
    assert all((folder / "__init__.py").exists() for folder in FOLDERS)


def test_imports_go_one_way():
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {imported}"
        for module, imports in IMPORTS.items()
        if module not in ("snip_cli", "snip_cli.__main__")
        for imported, line in imports.items()
        if room(imported) not in MAY_IMPORT[room(module)] | {room(module)}
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_file_is_in_a_circle_of_imports():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail("a circle of imports: " + " <- ".join(error.args[1]))


def test_no_room_is_in_a_circle_of_imports():
    rooms: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for module, imports in IMPORTS.items():
        if module not in ("snip_cli", "snip_cli.__main__"):
            rooms[room(module)] |= {room(imported) for imported in imports} - {room(module)}
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        pytest.fail("a circle of rooms: " + " <- ".join(error.args[1]))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PACKAGE)))
def test_every_room_says_in_a_few_lines_what_belongs_there_and_what_it_may_import(folder):
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    lines = [line for line in said.splitlines() if line.strip()]
    assert 2 <= len(lines) <= 5, said
    assert re.search(r"[Mm]ay import|[Ii]mports? .*(errors|folders)", said, re.DOTALL), said
