"""A sweep: plan, jobs, table, curves, and what is skipped the second time."""

from snip_cli.cli import main
from snip_cli.record import read_metrics
from tests.commands import QUICK

SWEEP = [*QUICK, "-m", "method=snip,random", "sparsity=0,0.9", "schedule.iterations=4"]


def test_a_sweep_prints_its_plan_first_and_the_table_last(tmp_path, capsys):
    assert main([*SWEEP, f"output_dir={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("4 jobs in 3 runs (at sparsity 0 all methods share the reference), 0 done already:")
    plan, _, table = said.partition("error (%)")
    assert plan.count("to do") == 3
    for method in ("reference", "snip", "random"):
        assert table.count(f"\n{method} ") == 1
    assert f"tensorboard --logdir {tmp_path}" in table
    assert len(list(tmp_path.glob("*/metrics.json"))) == 3
    assert not (tmp_path / "metrics.json").exists()


def test_the_same_sweep_again_does_nothing_and_shows_the_same_table(tmp_path, capsys):
    main([*SWEEP, f"output_dir={tmp_path}"])
    first = capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/metrics.json")}
    assert main([*SWEEP, f"output_dir={tmp_path}"]) == 0
    second = capsys.readouterr().out
    assert "4 jobs in 3 runs (at sparsity 0 all methods share the reference), 3 done already:" in second
    assert second.partition("error (%)")[2] == first.partition("error (%)")[2]
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/metrics.json")}


def test_a_dry_sweep_tells_the_plan_and_does_nothing(tmp_path, capsys):
    assert main([*SWEEP, f"output_dir={tmp_path / 'runs'}", "dry_run=true"]) == 0
    said = capsys.readouterr().out
    assert said.count("to do") == 4
    assert "26,661" in said
    assert not list(tmp_path.iterdir())


def test_flags_may_stand_anywhere(tmp_path):
    assert main([*QUICK, "sparsity=0.5,0.9", f"output_dir={tmp_path}", "--multirun"]) == 0
    assert sorted(read_metrics(path.parent)["sparsity_requested"] for path in tmp_path.glob("*/metrics.json")) == [
        0.5,
        0.9,
    ]


def test_an_experiment_may_be_a_sweep_by_itself(tmp_path, capsys):
    short = ["schedule.iterations=3", "schedule.evaluate_every=3"]
    assert main(["experiment=quickstart", *short, f"output_dir={tmp_path}"]) == 0
    found = sorted(read_metrics(path.parent)["sparsity_requested"] for path in tmp_path.glob("*/metrics.json"))
    assert found == [0, 0.9, 0.95, 0.98]
