"""Private parts of other libraries stay in the files that are meant for them."""

import re
import tomllib

import pytest

from snip_cli.config import hydra_internals
from tests.snip_run import ROOT

PYTHON = [path for folder in ("snip_cli", "tests", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
SCRIPTS = [path for path in sorted((ROOT / "scripts").iterdir()) if path.is_file() and path.suffix == ""]


@pytest.mark.parametrize(
    ("pattern", "home"),
    [
        (r"^\s*(from|import) hydra\._internal", "snip_cli/config/hydra_internals.py"),
        (r"^\s*(from|import) submitit", "snip_cli/commands/launchers.py"),
    ],
)
def test_private_parts_are_touched_in_one_file(pattern, home):
    found = {str(path.relative_to(ROOT)) for path in PYTHON + SCRIPTS if re.search(pattern, path.read_text(), re.M)}
    assert {path for path in found if not path.startswith("tests/") or "hydra" in pattern} == {home}


def test_the_version_that_was_tried_is_the_one_that_is_required():
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [hydra] = [name.removeprefix("hydra-core") for name in required if name.startswith("hydra-core")]
    assert hydra in str(hydra_internals.__doc__)
