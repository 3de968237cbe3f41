"""Several processes that train one network under torchrun, compared with one process."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from snip_cli.commands.evaluate import evaluate_again
from snip_cli.commands.snip_run import main
from snip_cli.runfolder import checkpoint, record
from snip_cli.runfolder.results import read_metrics
from snip_cli.runtime.processes import ProcessGroup, process_group
from tests.data.pictures import draw_classes
from tests.snip_run import QUICK, ROOT, only_run, run_quick, start, wait_until

DOUBLE = [*QUICK, "dtype=float64", "seed=3"]


def torchrun(processes, *arguments):
    """Start `snip-run` on several processes of this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, "-m", "snip_cli", *arguments], cwd=ROOT, env=env, **pipes)


def finished(process):
    """(exit code, stdout, stderr)."""
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def test_two_processes_train_what_one_trains_at_the_same_global_batch(tmp_path):
    code, out, err = finished(torchrun(2, *DOUBLE, f"output_dir={tmp_path / 'two'}"))
    assert code == 0, err
    assert out.count("snip · lenet_300_100 · digits") == 1
    assert "2 processes on cpu" in out
    alone, together = run_quick(tmp_path / "one", *DOUBLE), only_run(tmp_path / "two")
    assert together.name == alone.name
    first, second = checkpoint.load(alone), checkpoint.load(together)
    assert all(torch.equal(keep, second.masks[3][name]) for name, keep in first.masks[3].items())
    for name, weight in first.weights[3].items():
        torch.testing.assert_close(second.weights[3][name], weight, rtol=0, atol=1e-12)
    for (_, one), (_, two) in zip(record.read_evaluations(alone), record.read_evaluations(together), strict=True):
        assert two.to_json() == pytest.approx(one.to_json(), rel=1e-10)


def test_a_killed_process_ends_the_run_with_one_sentence_and_it_goes_on_from_its_checkpoint(tmp_path):
    long = [*DOUBLE, "schedule.iterations=400", f"output_dir={tmp_path}"]
    process = torchrun(2, *long)
    wait_until(lambda: list(tmp_path.glob("*/checkpoint.pt")))
    os.kill(youngest_child(process.pid), signal.SIGKILL)
    code, _, err = finished(process)
    assert code != 0
    assert "another of its processes was lost: start the same command again" in err
    code, out, err = finished(torchrun(2, *long))
    assert code == 0, err
    assert "goes on from iteration" in out


def youngest_child(pid):
    """The child process that `pid` started last."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return max(int(number) for number in found.stdout.split())


@pytest.fixture
def photographs(tmp_path):
    """A streamed data set of two classes, and the settings that train resnet56 on it."""
    for split, count in (("train", 20), ("val", 5)):
        draw_classes(tmp_path / "imagenet" / split, {"n01": count, "n02": count}, suffix=".JPEG", size=40)
    size = ["dataset.shape=[3,32,32]", "dataset.classes=2", "dataset.held_out=0.2", "dataset.workers=1"]
    schedule = [
        "schedule=imagenet_quick",
        "schedule.iterations=6",
        "schedule.evaluate_every=3",
        "schedule.batch_size=8",
    ]
    return ["dataset=ilsvrc2012", "model=resnet56", f"dataset.root={tmp_path}", *size, *schedule, "device=cpu"]


def test_a_streamed_data_set_trains_a_network_with_batch_norm_alone_and_together(photographs, tmp_path):
    assert main([*photographs, f"output_dir={tmp_path / 'one'}"]) == 0
    code, _, err = finished(torchrun(2, *photographs, f"output_dir={tmp_path / 'two'}"))
    assert code == 0, err
    alone, together = only_run(tmp_path / "one"), only_run(tmp_path / "two")
    assert "2 processes" in (together / "env.json").read_text()
    masks = [checkpoint.load(folder).masks[0] for folder in (alone, together)]
    assert all(torch.equal(keep, masks[1][name]) for name, keep in masks[0].items())
    [error] = evaluate_again(together, device="cpu", root=str(tmp_path)).values()
    assert error == read_metrics(together).test_error_mean


def test_a_group_trains_the_reference_and_then_prunes_it(tmp_path):
    snacs = ["method=snacs", "sparsity=auto", "method.groups=4", "method.samples_per_class=9"]
    code, _, err = finished(torchrun(2, *QUICK, *snacs, f"output_dir={tmp_path}"))
    assert code == 0, err
    folders = {folder.name.split("-")[0]: folder for folder in tmp_path.iterdir() if folder.is_dir()}
    assert set(folders) == {"reference", "snacs"}
    assert read_metrics(folders["snacs"]).sparsity > 0


def test_a_damaged_image_ends_the_run_of_several_processes_with_its_name(photographs, tmp_path):
    image = tmp_path / "imagenet" / "val" / "n02" / "4.JPEG"
    image.write_bytes(image.read_bytes()[:-400])
    code, _, err = finished(torchrun(2, *photographs, f"output_dir={tmp_path / 'runs'}"))
    assert code != 0
    assert f"{image} cannot be decoded" in err


def test_a_batch_that_the_processes_cannot_share_is_refused_once(tmp_path):
    code, _, err = finished(torchrun(2, *QUICK, "schedule.batch_size=25", f"output_dir={tmp_path}"))
    assert code != 0
    assert (
        err.count("snip-run: schedule.batch_size=25 cannot be shared evenly by 2 processes: choose a multiple of 2.")
        == 1
    )


def test_a_sweep_under_torchrun_is_refused(tmp_path):
    process = start([*QUICK, "-m", "sparsity=0,0.5", f"output_dir={tmp_path}"], TORCHELASTIC_RUN_ID="x")
    code, _, err = finished(process)
    assert (code, err) == (
        2,
        "snip-run: torchrun trains one run on several processes: leave out -m and experiments that sweep.\n",
    )


def test_a_group_of_one_does_nothing():
    with process_group(torch.device("cpu"), 7) as group:
        assert group == ProcessGroup(0, 1)
        tensor = torch.tensor([2.0])
        assert group.all_reduce(tensor) is tensor
        assert group.broadcast("x") == "x"
        group.broadcast_tensors([tensor])
    assert not torch.distributed.is_initialized()


def test_a_finished_run_is_reused_by_a_group_too(tmp_path, capsys):
    assert main([*DOUBLE, f"output_dir={tmp_path}"]) == 0
    code, out, err = finished(torchrun(2, *DOUBLE, f"output_dir={tmp_path}"))
    assert code == 0, err
    assert out.count("finished already") == 1
