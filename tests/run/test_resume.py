"""kill -9 at any moment, then the same command: bit by bit the run that was never killed."""

import functools
import signal

import pytest
import torch

from snip_cli.runfolder import checkpoint
from tests.run.test_pipeline import without_seconds
from tests.snip_run import only_run, read_metrics, start, wait_until

# Two seeds; evaluations, checkpoints and epochs fall on different iterations.
COMMAND = [
    *("dataset=digits", "model=lenet_300_100", "sparsity=0.9", "seeds=2", "device=cpu", "schedule.iterations=240"),
    *("schedule.evaluate_every=35", "schedule.checkpoint_every=15", "schedule.milestones=[100,150]"),
]


# Both forms of training a fixed mask, and a mask that changes on the way.
WAYS = {
    "apart": ["replicates=apart"],
    "stacked": ["replicates=stacked"],
    "gradual": ["method=gmp", "method.every=20"],
}


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory):
    """Runs that were never killed, each done once, by the way their replicates are trained."""

    @functools.cache
    def whole(way):
        output_dir = tmp_path_factory.mktemp(way)
        process = start([*COMMAND, *WAYS[way], f"output_dir={output_dir}"])
        _, said = process.communicate()
        assert process.returncode == 0, said
        return only_run(output_dir)

    return whole


# Before the first checkpoint, early and late in the first seed, and in the second; and of both seeds together.
@pytest.mark.parametrize(
    "way, seed, iteration",
    [
        *(("apart", 0, 15), ("apart", 1, 45)),
        *(("stacked", 1, 0), ("stacked", 1, 150)),
        ("gradual", 1, 150),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(way, seed, iteration, never_killed, tmp_path):
    never_killed = never_killed(way)
    command = [*COMMAND, *WAYS[way], f"output_dir={tmp_path}"]
    process = start(command)
    wait_until(lambda: reached(tmp_path, seed, iteration) or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    folder = only_run(tmp_path)
    done = read_metrics(folder)
    assert [result["seed"] for result in done["seeds"]] == [0] if seed == 1 and way != "stacked" else done is None

    again = start(command)
    said, failed = again.communicate()
    assert again.returncode == 0, failed
    assert ("goes on from iteration" in said) == (iteration > 0)

    assert without_seconds(read_metrics(folder)) == without_seconds(read_metrics(never_killed))
    assert (folder / "metrics.csv").read_text() == (never_killed / "metrics.csv").read_text()
    for name, part in (("checkpoint.pt", "weights"), ("mask.pt", None)):
        killed, whole = (torch.load(path / name, weights_only=True) for path in (folder, never_killed))
        assert equal(killed[part] if part else killed, whole[part] if part else whole)


def reached(output_dir, seed, iteration):
    """Whether the run in `output_dir` has kept a checkpoint of `seed` at `iteration` or later."""
    for file in output_dir.glob("*/mask.pt" if iteration == 0 else "*/checkpoint.pt"):
        if iteration == 0:
            return True
        training = torch.load(file, weights_only=True).get("training", {})
        return seed in training and training[seed]["state"]["progress"]["iteration"] >= iteration
    return False


def equal(one, other):
    """Whether two nested dictionaries hold the same tensors, bit by bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return one.dtype == other.dtype and torch.equal(one, other)


def test_sigterm_ends_a_run_like_ctrl_c(tmp_path):
    process = start([*COMMAND, "schedule.iterations=1000000", f"output_dir={tmp_path}"])
    wait_until(lambda: list(tmp_path.rglob("checkpoint.pt")) or process.poll() is not None)
    process.terminate()
    _, complaints = process.communicate()
    assert process.returncode == 143
    assert complaints == "\nsnip-run: stopped; the same command continues from the last checkpoint or finished step.\n"
    folder = only_run(tmp_path)
    assert checkpoint.load(folder).training
    assert not list(folder.rglob(".*.tmp"))
