"""The command finds its configurations from a bare checkout, an editable install and a wheel, from any folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.snip_run import ROOT

DRY = ["dry_run=true", "model=lenet_5_caffe", "sparsity=0.99"]


def run(command, cwd, **environment):
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def speaks(python, cwd, home, **environment):
    """All three commands answer from `cwd`, and the package is the one below `home`."""
    where = run([*python, "-c", "import snip_cli; print(snip_cli.__file__)"], cwd, **environment)
    assert Path(where.strip()).is_relative_to(home)
    assert "431,080" in run([*python, "-m", "snip_cli", *DRY], cwd, **environment)
    assert "--format" in run([*python, "-m", "snip_cli.commands.snip_report", "--help"], cwd, **environment)
    exporting = "import snip_cli.compact, snip_cli.commands.snip_export; snip_cli.commands.snip_export.main(['--help'])"
    assert "--masked" in run([*python, "-c", exporting], cwd, **environment)


def test_from_a_checkout_that_is_not_installed(tmp_path):
    for name in ("snip_cli", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    speaks([sys.executable], tmp_path, tmp_path)


def test_from_a_wheel_installed_elsewhere(tmp_path):
    source = tmp_path / "source"
    for name in ("snip_cli", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source], tmp_path)
    [wheel] = tmp_path.glob("snip_run-*.whl")
    run([*pip, "install", "--no-deps", "--target", tmp_path / "site", wheel], tmp_path)
    shutil.rmtree(source)
    (tmp_path / "elsewhere").mkdir()
    speaks([sys.executable], tmp_path / "elsewhere", tmp_path / "site", PYTHONPATH=str(tmp_path / "site"))
    shipped = {path.relative_to(tmp_path / "site/snip_cli/configs") for path in (tmp_path / "site").rglob("*.yaml")}
    assert shipped == {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}


SNIP_RUN = Path(sys.executable).parent / "snip-run"


@pytest.mark.skipif(not SNIP_RUN.exists(), reason="the project is not installed in this environment")
def test_from_an_editable_install(tmp_path):
    assert "431,080" in run([SNIP_RUN, *DRY], tmp_path)
    assert "--format" in run([SNIP_RUN.with_name("snip-report"), "--help"], tmp_path)
    speaks([sys.executable], tmp_path, ROOT)
