"""The environment of a result: versions, machine, commit and command line."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from snip_cli import registry

PACKAGES = ("snip-run", "torch", "torchvision", "hydra-core", "omegaconf", "tensorboard", "numpy")
# The parts of a checkout that a result depends on.
PROGRAM = ("snip_cli", "configs", "pyproject.toml")


def environment() -> dict[str, Any]:
    """Return versions, machine, commit and command line of this process, for `env.json`."""
    commit, dirty = git_state()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["snip-run", *sys.argv[1:]]),
        "commit": commit,
        "dirty": dirty,
        "host": platform.node(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "own_files": registry.own_files,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def git_state() -> tuple[str | None, bool | None]:
    """Return (commit, whether the program's files differ from it) of the checkout that holds this package; (None, None)
    outside a checkout.

    Other files in the checkout, such as a user's own methods and runs, are ignored.
    """
    package = Path(__file__).resolve().parents[1]
    if not (package.parent / ".git").exists():
        return None, None
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=package, capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            ["git", "status", "--porcelain", "--", *PROGRAM],
            cwd=package.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit, bool(status.strip())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
