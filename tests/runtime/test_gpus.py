"""Runs on one machine take a GPU each. The GPUs are simulated; the locks are real."""

import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch

from snip_cli.runtime import device
from tests.snip_run import ROOT


@pytest.fixture
def visible(monkeypatch, tmp_path):
    """Sets which GPUs this process sees; their locks are in the test's own folder."""
    monkeypatch.setattr(device, "LOCKS", tmp_path / "locks")

    def see(*names):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=names[index]))

    see("first", "second", "third")
    return see


def test_runs_at_the_same_time_take_one_each_and_share_only_when_all_are_taken(visible):
    with ExitStack() as runs:
        assert [runs.enter_context(device.one_gpu()) for _ in range(8)] == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_gpu_is_free_again_after_its_run_also_where_that_failed(visible):
    with device.one_gpu() as first:
        with pytest.raises(ZeroDivisionError), device.one_gpu() as second:
            raise ZeroDivisionError
        with device.one_gpu() as third:
            assert (first, second, third) == (0, 1, 1)


def test_the_one_that_fewest_have_taken_is_next(visible):
    with ExitStack() as runs:
        locks = [device.take_gpu(device.gpu_names())[0] for _ in range(5)]  # on GPUs 0 1 2 0 1
        locks[1].release()
        assert runs.enter_context(device.one_gpu()) == 1
        assert runs.enter_context(device.one_gpu()) == 2
        for lock in locks:
            lock.release()


def test_a_gpu_is_the_same_whatever_number_a_process_knows_it_by(visible):
    with device.one_gpu() as first:
        assert first == 0
        visible("third", "first")
        with device.one_gpu() as one, device.one_gpu() as other:
            # The third GPU is free at first. Then it has one run, like the first GPU, and precedes it.
            assert (one, other) == (0, 0)


def test_another_process_holds_its_gpu_until_it_is_killed(visible):
    program = (
        "import sys, pathlib; from snip_cli.runtime import device; device.LOCKS = pathlib.Path(sys.argv[1]);"
        "held = device.take_gpu(['first', 'second']); print(held[1], flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, device.LOCKS],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "0\n"
    with device.one_gpu() as beside:
        assert beside == 1
    other.kill()
    other.communicate()
    with device.one_gpu() as after:
        assert after == 0
