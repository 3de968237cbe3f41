"""`dry_run=true`: the plan of a run or a sweep, and nothing else."""

import re

import pytest
import torch

from snip_cli.commands.snip_run import main
from tests.snip_run import QUICK, run_quick, train_until_checkpoint


def test_dry_run_needs_no_data_and_writes_nothing(tmp_path, capsys):
    arguments = [
        "dry_run=true",
        "dataset=mnist",
        "model=lenet_5_caffe",
        "sparsity=0.99",
        f"dataset.root={tmp_path / 'none'}",
    ]
    assert main([*arguments, f"output_dir={tmp_path / 'runs'}"]) == 0
    said = capsys.readouterr().out
    schedule = "sgd, lenet: 100,000 iterations of 100, learning rate 0.1, × 0.1 at 25,000, 50,000, 75,000"
    for words in (
        "snip-lenet_5_caffe-mnist-s0.99-seed0-",
        "to do",
        "431,080",
        "4,311",
        "2,293,000",
        "100,000",
        schedule,
    ):
        assert words in said
    assert not list(tmp_path.iterdir())


def test_dry_run_reports_absent_weights(tmp_path, capsys):
    arguments = [*QUICK, f"output_dir={tmp_path}", "dry_run=true", "method.redraw=false"]
    weights = tmp_path / "weights.pt"
    assert main([*arguments, f"pretrained={weights}"]) == 0
    assert f"to do, but pretrained={weights} is missing\n" in capsys.readouterr().out
    weights.touch()
    for named in (weights, "IMAGENET1K_V1", ""):
        assert main([*arguments, f"pretrained={named}"]) == 0
        assert "missing" not in capsys.readouterr().out


def test_dry_run_reports_an_interrupted_run(tmp_path, capsys):
    command = [*QUICK, f"output_dir={tmp_path}"]
    train_until_checkpoint(command, tmp_path)
    assert main([*command, "dry_run=true"]) == 0
    assert "begun" in capsys.readouterr().out


def test_dry_run_reports_a_finished_run(tmp_path, capsys):
    run_quick(tmp_path)
    capsys.readouterr()
    assert main([*QUICK, f"output_dir={tmp_path}", "dry_run=true"]) == 0
    assert "done" in capsys.readouterr().out


def test_a_dry_sweep_prints_the_plan_and_does_nothing(tmp_path, capsys):
    assert (
        main([*QUICK, "-m", "method=snip,random", "sparsity=0,0.9", f"output_dir={tmp_path / 'runs'}", "dry_run=true"])
        == 0
    )
    said = capsys.readouterr().out
    assert said.count("to do") == 3  # the reference serves both methods
    assert "26,661" in said
    assert not list(tmp_path.iterdir())


def test_dry_run_says_whether_exactly_kappa_parameters_are_kept(capsys):
    for method, kept in (("snip", "26,661"), ("sparse_vd", "26,661"), ("snacs", "26,661 or more")):
        assert main(["dry_run=true", "dataset=digits", f"method={method}", "sparsity=0.9"]) == 0
        [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kept κ")]
        assert line.split(maxsplit=2)[2] == kept


def test_dry_run_counts_the_rounds_that_a_run_needs_first(tmp_path, capsys):
    command = [*QUICK, f"output_dir={tmp_path}", "method=imp", "sparsity=0.4", "schedule.iterations=10"]
    assert main([*command, "dry_run=true"]) == 0
    said = capsys.readouterr().out
    assert "to do, after its reference and 2 rounds" in said
    assert "30 + 10" in said
    assert main([*QUICK, f"output_dir={tmp_path}", "sparsity=0", "schedule.iterations=10"]) == 0
    assert main([*command, "dry_run=true"]) == 0
    assert "to do, after 2 rounds" in capsys.readouterr().out


def test_dry_run_says_how_long_a_seed_takes_and_how_it_knows(tmp_path, capsys):
    command = [*QUICK, f"output_dir={tmp_path}", "dry_run=true"]
    assert main([*command, "sparsity=0.9"]) == 0
    assert re.search(
        r"time +about \d+ s a seed, by a short timing of the whole network; a pruned one may be faster\n",
        capsys.readouterr().out,
    )
    done = run_quick(tmp_path, "sparsity=0.8")
    assert main([*command, "sparsity=0.9"]) == 0
    assert re.search(rf"time +about \d+ s a seed, as {done.name} took here\n", capsys.readouterr().out)
    assert main([*command, "sparsity=0"]) == 0
    assert re.search(r"time +about \d+ s a seed, by a short timing\n", capsys.readouterr().out)
    assert main([*QUICK, f"output_dir={tmp_path}", "sparsity=0.7"]) == 0
    assert f"a seed, as {done.name} took here\n" in capsys.readouterr().out  # the header of the run


def test_a_run_that_trained_nothing_does_not_say_how_long_another_takes(tmp_path, capsys):
    run_quick(tmp_path, "sparsity=0.9", "schedule.iterations=0")
    assert main([*QUICK, f"output_dir={tmp_path}", "sparsity=0.8", "schedule.iterations=0"]) == 0
    assert main([*QUICK, f"output_dir={tmp_path}", "sparsity=0.9", "dry_run=true"]) == 0
    assert "by a short timing" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_plan_for_another_machine_does_not_need_its_gpu(tmp_path, capsys):
    assert main([*QUICK, f"output_dir={tmp_path}", "dry_run=true", "device=cuda"]) == 0
    assert re.search(r"time +unknown here\n", capsys.readouterr().out)
