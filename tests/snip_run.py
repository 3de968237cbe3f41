"""How the tests run the command: short runs on the embedded digits, in this process or in one of their own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from snip_cli.commands.snip_run import main

ROOT = Path(__file__).resolve().parent.parent
# Long enough for two evaluations and a checkpoint.
QUICK = [
    "dataset=digits",
    "schedule.iterations=8",
    "schedule.evaluate_every=4",
    "schedule.checkpoint_every=4",
    "device=cpu",
]


def only_run(output_dir: Path) -> Path:
    """The one run folder in `output_dir`."""
    [config] = output_dir.glob("*/config.yaml")
    return config.parent


def read_metrics(folder: Path) -> dict | None:
    """The content of a run's `metrics.json`, None before the first seed is finished."""
    path = folder / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else None


def run_quick(output_dir: Path, *arguments: str) -> Path:
    """Do one short run and give its folder."""
    assert main([*QUICK, f"output_dir={output_dir}", *arguments]) == 0
    return only_run(output_dir)


def start(arguments: Sequence[str], **environment: str) -> subprocess.Popen:
    """`snip-run` in a process of its own, on one thread so that its results can be compared bit by bit."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-m", "snip_cli", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Return as soon as `condition` holds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def train_until_checkpoint(command: Sequence[str], output_dir: Path) -> Path:
    """Let a run stop right after its first checkpoint, as a kill there would leave it, and give its folder."""
    from snip_cli.runfolder import checkpoint

    save = checkpoint.save

    def save_and_stop(folder: Path, saved: checkpoint.Saved) -> None:
        save(folder, saved)
        raise KeyboardInterrupt

    checkpoint.save = save_and_stop
    try:
        assert main(list(command)) == 130
    finally:
        checkpoint.save = save
    return only_run(output_dir)
