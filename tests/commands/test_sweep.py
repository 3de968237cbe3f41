"""A sweep: plan, jobs, table and curves; the second time it skips finished runs."""

import json

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher

from snip_cli.commands.snip_run import main
from tests.snip_run import QUICK, read_metrics, start, wait_until

SWEEP = [*QUICK, "-m", "method=snip,random", "sparsity=0,0.9", "schedule.iterations=4"]


def test_a_sweep_prints_its_plan_first_and_the_table_last(tmp_path, capsys):
    assert main([*SWEEP, f"output_dir={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("4 jobs in 3 runs (some share one, as methods do at sparsity 0), 0 done already:")
    plan, _, table = said.partition("error (%)")
    assert plan.count("to do") == 3
    for method in ("reference", "snip", "random"):
        assert table.count(f"\n{method} ") == 1
    assert table.splitlines()[-1].startswith(f"the runs are in {tmp_path}: ")
    assert table.endswith(f"tensorboard --logdir {tmp_path}\n")
    assert len(list(tmp_path.glob("*/metrics.json"))) == 3
    assert not (tmp_path / "metrics.json").exists()


def test_plan_and_runs_name_the_settings_that_differ(tmp_path, capsys):
    sweep = [*QUICK, "-m", "method.classes=[0],[1]", "sparsity=0.5,0.9", f"output_dir={tmp_path}"]
    main([*QUICK, "method.classes=[0]", "sparsity=0.9", f"output_dir={tmp_path}"])  # done already, by itself
    capsys.readouterr()
    assert main(sweep) == 0
    lines = capsys.readouterr().out.splitlines()
    own = [f"method.classes=[{label}] sparsity={sparsity}" for label in (0, 1) for sparsity in (0.5, 0.9)]
    assert [line.split("  ")[-1] for line in lines[1:5]] == own
    del own[1]
    assert [line for line in lines if line.startswith("run ")] == [f"run {i} of 3 · {o}" for i, o in enumerate(own, 1)]


def test_the_same_sweep_again_does_nothing_and_shows_the_same_table(tmp_path, capsys):
    main([*SWEEP, f"output_dir={tmp_path}"])
    first = capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/metrics.json")}
    assert main([*SWEEP, f"output_dir={tmp_path}"]) == 0
    second = capsys.readouterr().out
    assert "4 jobs in 3 runs (some share one, as methods do at sparsity 0), 3 done already:" in second
    assert second.partition("error (%)")[2] == first.partition("error (%)")[2]
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/metrics.json")}


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
    assert capsys.readouterr().out.endswith("snip-run experiment=table1_lenet_300_100 seeds=3\n")


def test_jobs_that_share_a_folder_are_one_run_with_the_most_seeds(tmp_path):
    assert main([*QUICK, "-m", "seeds=2,1", "schedule.iterations=2", f"output_dir={tmp_path}"]) == 0
    [metrics] = tmp_path.glob("*/metrics.json")
    assert len(read_metrics(metrics.parent)["seeds"]) == 2


def test_when_every_job_fails_early_the_failures_are_listed(tmp_path, capsys, monkeypatch):
    from torchvision.datasets import MNIST

    def no_network(self):
        raise OSError("no route to host")

    monkeypatch.setattr(MNIST, "download", no_network)
    arguments = [
        "-m",
        "dataset=mnist",
        f"dataset.root={tmp_path / 'none'}",
        "sparsity=0,0.9",
        f"output_dir={tmp_path / 'runs'}",
    ]
    assert main(arguments) == 1
    said = capsys.readouterr().out
    assert said.count("failed: MNIST is not in") == 2
    assert said.count("\nfailed: ") >= 2


def test_a_launcher_that_dies_ends_in_the_table_and_the_failures(tmp_path, capsys, monkeypatch):
    [launcher] = [kind for kind in Plugins.instance().discover(Launcher) if kind.__name__ == "BasicLauncher"]

    def die(self, job_overrides, initial_job_idx):
        raise ChildProcessError("a worker was killed")

    monkeypatch.setattr(launcher, "launch", die)
    assert main([*SWEEP, f"output_dir={tmp_path}"]) == 1
    said = capsys.readouterr().out
    assert "a worker was killed" in said
    assert said.count("it did not start; the same command continues it") == 3


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["eval=runs/a,runs/b"], "one finished run"),
        (["output_dir=a,b"], "output_dir must be one folder for the whole sweep: got a, b."),
        (["method=snacs,mint", "method.groups=4"], "write ++method.groups=VALUE if all of them have it"),
        (["method=random,mint", "method.groups=4,8"], "write ++method.groups=VALUE if all of them have it"),
    ],
)
def test_impossible_sweeps_are_refused(arguments, phrase, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*QUICK, "-m", *arguments]) == 2
    assert phrase in capsys.readouterr().err


@pytest.mark.parametrize(
    "values, given",
    [
        ("dataset.root=a,b", "a and b"),
        ("device=cpu,auto", "cpu and auto"),
        ("deterministic=false,true", "false and true"),
        ("compile=true,false", "true and false"),
        ("dry_run=false,true", "false and true"),
        ("replicates=apart,stacked", "apart and stacked"),
        ("schedule.checkpoint_every=5,6", "5 and 6"),
        ("dataset.workers=1,2", "1 and 2"),
    ],
)
def test_a_sweep_over_what_does_not_name_a_folder_is_refused(values, given, tmp_path, capsys):
    others = ["dataset=ilsvrc2012"] if "workers" in values else QUICK
    assert main([*others, "-m", "sparsity=0,0.9", values, f"output_dir={tmp_path / 'runs'}"]) == 2
    said = capsys.readouterr().err
    key = values.partition("=")[0]
    assert f"{key} does not name a run's folder, so a sweep cannot have several values of it: got {given}. " in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("values", [["compact=false,true"], ["compact=true,false", "seeds=2,1"]])
def test_of_jobs_with_one_folder_the_one_that_does_the_work_of_all_is_done(values, tmp_path, capsys):
    assert main([*QUICK, "-m", "sparsity=0.9", *values, f"output_dir={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{2 ** len(values)} jobs in 1 run (jobs with the same folder share one), 0 done already:")
    [compact] = tmp_path.glob("*/compact.json")
    assert len(json.loads(compact.read_text())["seeds"]) == len(values)


def test_jobs_of_which_none_does_the_work_of_all_are_refused(tmp_path, capsys):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    for name, settings in {"many": "seeds: 3", "small": "seeds: 2\ncompact: true"}.items():
        (tmp_path / "mine" / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{settings}\n")
    mine = ["--config-dir", str(tmp_path / "mine"), "-m", "experiment=many,small"]
    assert main([*QUICK, *mine, f"output_dir={tmp_path / 'runs'}"]) == 2
    assert "compact does not name a run's folder" in capsys.readouterr().err


def test_a_job_that_another_sweep_is_doing_is_waited_for_and_shared(tmp_path, capsys):
    # Long enough to be going on when the other one begins.
    command = [*QUICK, "-m", "sparsity=0.8,0.9", "schedule.iterations=400", "compact=true", f"output_dir={tmp_path}"]
    first = start(command)
    wait_until(lambda: list(tmp_path.rglob("mask.pt")) or first.poll() is not None)
    assert main(command) == 0
    said = capsys.readouterr().out
    assert first.wait() == 0, first.stderr.read()
    first.communicate()
    assert "waiting for another process that is doing the run" in said
    assert "finished already" in said
    assert "failed" not in said
    assert len(list(tmp_path.glob("*/compact.json"))) == 2
    assert not list(tmp_path.rglob(".*.tmp"))
