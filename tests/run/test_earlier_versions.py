"""Run folders of an earlier version are found under the same names, and are skipped, continued and reported.

`earlier/e1fe8d6.tar.xz` holds what the commit e1fe8d6 left for the commands below, without logs and most tensors:

- `runs/`: the folders; the runs of seeds 7 to 9 were stopped after their first checkpoint;
- `continued/`: the folders of these two after e1fe8d6 itself continued them;
- `made_with.json`: the PyTorch and the processor, which decide whether the same bits can be expected.
"""

import csv
import json
import tarfile
from pathlib import Path

import pytest
import torch

from snip_cli.commands.snip_report import main as report
from snip_cli.commands.snip_run import main
from snip_cli.runfolder import checkpoint
from tests.snip_run import QUICK

ARCHIVE = Path(__file__).parent / "earlier" / "e1fe8d6.tar.xz"
FINISHED = {
    "sparsity=0.98 seeds=2": "snip-lenet_300_100-digits-s0.98-seed0-b4143722",
    "sparsity=0.98 method.sanity=redraw method.redraw=false": "snip-lenet_300_100-digits-s0.98-seed0-b4143722",
    "sparsity=0.98 method=random method.sanity=shuffle_layers": "random-lenet_300_100-digits-s0.98-seed0-7642425f",
    "sparsity=0": "reference-lenet_300_100-digits-seed0-282968c7",
    "sparsity=0 model=lenet_5_caffe": "reference-lenet_5_caffe-digits-seed0-0e07c997",
    "sparsity=0.9 method=l1_filter model=lenet_5_caffe": "l1_filter-lenet_5_caffe-digits-s0.9-seed0-b1ddc847",
    "sparsity=0.9 method=magnitude +method.trained=true method.redraw=false": "magnitude-lenet_300_100-digits-s0.9-seed0-51fdb22d",
    "sparsity=auto method=snacs method.samples_per_class=30 method.groups=4 method.limit_slack=0.5": "snacs-lenet_300_100-digits-sauto-seed0-dba34c46",
    "sparsity=0.98 model=gru_s schedule=lenet_adam seed=3 dtype=float64": "snip-gru_s-digits-s0.98-seed3-cae04ece",
}
INTERRUPTED = {
    "sparsity=0.99 seeds=2 seed=7 replicates=together schedule.momentum=0": "snip-lenet_300_100-digits-s0.99-seed7-e5bf2c32",
    "sparsity=0.99 seed=9 schedule.momentum=0": "snip-lenet_300_100-digits-s0.99-seed9-2a49d6e3",
}


@pytest.fixture
def earlier(tmp_path):
    """The folder that the archive was unpacked to."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("command", FINISHED)
def test_a_finished_run_is_found_and_skipped(command, earlier, capsys):
    before = contents(earlier / "runs")
    assert main([*QUICK, f"output_dir={earlier / 'runs'}", *command.split()]) == 0
    printed = capsys.readouterr().out
    assert "finished already" in printed
    assert f"→  {earlier / 'runs' / FINISHED[command]}\n" in printed
    assert contents(earlier / "runs") == before


@pytest.mark.parametrize("command", INTERRUPTED)
def test_an_interrupted_run_is_continued_to_the_same_result(command, earlier, capsys):
    folder, expected = (earlier / top / INTERRUPTED[command] for top in ("runs", "continued"))
    assert main([*QUICK, f"output_dir={earlier / 'runs'}", *command.split()]) == 0
    assert "from iteration 4" in capsys.readouterr().out
    made_with = json.loads((earlier / "made_with.json").read_text())
    same_machine = made_with["torch"] == torch.__version__
    same_machine &= made_with["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    # Kept weights alone continue a masked training to rounding.
    same_machine &= json.loads((folder / "env.json").read_text())["engine"] != "sparse"
    tolerance = 0 if same_machine else 1e-4
    weights, old_weights = checkpoint.load(folder).weights, checkpoint.load(expected).weights
    torch.testing.assert_close(weights, old_weights, rtol=tolerance, atol=tolerance)
    rows, old_rows = (list(csv.DictReader((top / "metrics.csv").open())) for top in (folder, expected))
    for row, old_row in zip(rows, old_rows, strict=True):
        losses = {key: float(value) for key, value in old_row.items() if not key.endswith("error")}
        assert {key: float(row[key]) for key in losses} == pytest.approx(losses, rel=tolerance)
        assert not same_machine or {key: row[key] for key in old_row} == old_row
    results, old_results = (json.loads((top / "metrics.json").read_text())["seeds"] for top in (folder, expected))
    for result, old_result in zip(results, old_results, strict=True):
        assert (result["seed"], result["layers"]) == (old_result["seed"], old_result["layers"])
        assert not same_machine or result["test_error"] == old_result["test_error"]


def test_more_seeds_are_added_to_a_finished_run(earlier):
    folder = earlier / "runs" / FINISHED["sparsity=0.98 seeds=2"]
    before = checkpoint.load(folder).weights
    assert main([*QUICK, f"output_dir={earlier / 'runs'}", "sparsity=0.98", "seeds=3"]) == 0
    after = checkpoint.load(folder).weights
    assert sorted(after) == [0, 1, 2]
    assert all(torch.equal(after[seed][name], weight) for seed in before for name, weight in before[seed].items())


def test_a_finished_run_is_evaluated_again(earlier, capsys):
    folder = earlier / "runs" / FINISHED["sparsity=0.98 seeds=2"]
    assert main([f"eval={folder}", "device=cpu"]) == 0
    assert capsys.readouterr().out.count("recorded") == 2


def test_the_report_reads_every_folder(earlier, capsys):
    assert report([str(earlier / "runs")]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    rows = [line.split() for line in printed.out.splitlines() if " digits " in line]
    assert len(rows) == len(list((earlier / "runs").iterdir())) - 1  # seeds 7 to 9 are of the same settings
    assert printed.out.count(" 0 of 3 ") == 1
