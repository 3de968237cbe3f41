"""Launchers: several processes on this machine, and jobs of a cluster."""

import json
import os
import re
import shlex
import signal
import sys
from importlib.util import find_spec

import pytest
from filelock import FileLock
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from snip_cli.commands.snip_report import main as report
from snip_cli.commands.snip_run import main
from snip_cli.config.composition import CONFIGS
from tests.snip_run import QUICK, read_metrics, start, wait_until

LAUNCHERS = sorted(path.stem for path in (CONFIGS / "hydra" / "launcher").glob("*.yaml"))
PAIR = [*QUICK, "-m", "sparsity=0,0.9"]

extra = pytest.mark.skipif(
    not find_spec("submitit"), reason="the extra is not installed: pip install 'snip-run[launch]'"
)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_its_first_line_is_the_command_that_uses_it(name):
    text = (CONFIGS / "hydra" / "launcher" / f"{name}.yaml").read_text()
    assert text.startswith(f"# snip-run -m hydra/launcher={name}\n")


@extra
@pytest.mark.parametrize("name", LAUNCHERS)
def test_it_composes(name, tmp_path, capsys):
    assert main([*PAIR, f"hydra/launcher={name}", "dry_run=true", f"output_dir={tmp_path}"]) == 0
    assert capsys.readouterr().out.count("to do") == 2


@pytest.mark.parametrize("name", [*LAUNCHERS, "joblib", "submitit_local"])
def test_without_the_extra_the_error_says_what_to_install(name, tmp_path, capsys, monkeypatch):
    Plugins.instance()  # has imported what there is
    for registered in ("joblib", "submitit_local", "submitit_slurm"):
        monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{registered}.yaml", raising=False)
    assert main([*PAIR, f"hydra/launcher={name}", f"output_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install 'snip-run[launch]'" in said


@extra
def test_two_processes_give_the_same_table_as_one(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process
    tables = []
    for launcher in ("processes", "basic"):
        assert main([*PAIR, f"hydra/launcher={launcher}", f"output_dir={tmp_path / launcher}"]) == 0
        said = capfd.readouterr().out  # also what other processes say reaches the terminal
        assert said.count("test error ") == 2
        assert said.count("run 1 of 2 · sparsity=0\n") == said.count("run 2 of 2 · sparsity=0.9\n") == 1
        assert report([str(tmp_path / launcher), "--format", "csv"]) == 0
        tables.append(capfd.readouterr().out)
    assert tables[0] == tables[1]
    assert len(tables[0].splitlines()) == 3


@extra
def test_zero_processes_are_refused(tmp_path, capsys):
    assert main([*PAIR, "hydra/launcher=processes", "hydra.launcher.n_jobs=0", f"output_dir={tmp_path}"]) == 2
    assert "hydra.launcher.n_jobs must be at least 1, or -1 for one process per core: got 0." in capsys.readouterr().err


@extra
def test_each_of_two_processes_has_half_of_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert main([*PAIR, "hydra/launcher=processes", "hydra.launcher.n_jobs=2", f"output_dir={tmp_path}"]) == 0
    threads = max(len(os.sched_getaffinity(0)) // 2, 1)
    for file in tmp_path.glob("*/env.json"):
        assert json.loads(file.read_text())["device"] == f"cpu ({threads} threads)"


@extra
def test_a_launcher_makes_a_single_run_a_sweep_of_one(tmp_path, capsys, cluster):
    assert main([*QUICK, "hydra/launcher=slurm", f"output_dir={tmp_path}"]) == 1
    assert "1 job, 0 done already" in capsys.readouterr().out
    assert cluster == [["dataset=digits", *QUICK[1:], f"output_dir={tmp_path}", "hydra.mode=RUN"]]


@extra
def test_a_machine_without_a_gpu_may_hand_jobs_to_a_cluster_that_has_some(tmp_path, cluster):
    main([*PAIR, "hydra/launcher=slurm", "device=cuda", f"output_dir={tmp_path}"])
    assert len(cluster) == 2


@extra
def test_after_ctrl_c_the_jobs_of_the_cluster_continue(tmp_path, capsys, cluster):
    cluster.append("stop")
    assert main([*PAIR, "hydra/launcher=slurm", f"output_dir={tmp_path}"]) == 130
    said = capsys.readouterr().err
    assert "the jobs continue in the cluster" in said
    assert "Once they are done, the same command shows their table" in said


@pytest.fixture
def cluster(monkeypatch):
    """A SLURM that takes jobs, does none, and keeps their overrides; where it finds `stop` in the list, somebody types Ctrl-C."""
    from hydra.core.plugins import Plugins

    Plugins.instance()  # which imports every launcher anew, and would bring back the one that is replaced here
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

    taken = []

    def launch(self, job_overrides, initial_job_idx):
        if taken == ["stop"]:
            raise KeyboardInterrupt
        taken.extend(job_overrides)
        return []

    monkeypatch.setattr(SlurmLauncher, "launch", launch)
    return taken


@extra
def test_the_workers_of_a_sweep_end_with_it(tmp_path):
    endless = ["schedule.iterations=1000000", "schedule.evaluate_every=1000000"]
    sweep = start([*PAIR, *endless, "hydra/launcher=processes", f"output_dir={tmp_path}"])
    wait_until(lambda: len(list(tmp_path.rglob("checkpoint.pt"))) == 2 or sweep.poll() is not None)
    sweep.kill()
    said, complaints = sweep.communicate()  # until the workers, which hold the pipes, have ended
    assert sweep.returncode == -signal.SIGKILL
    assert "Traceback" not in said + complaints
    for folder in tmp_path.glob("*/"):
        with FileLock(folder / ".lock", timeout=0):
            pass


DYING = """
import os, signal
from snip_cli.registry import methods


@methods.register("dying")
def dying(model, batches, loss, generator):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def dying(tmp_path):
    """Overrides of a sweep whose first job is killed and whose second one waits for that, and takes longer."""
    mine = tmp_path / "mine"
    (mine / "method").mkdir(parents=True)
    (mine / "method" / "dying.yaml").write_text("name: dying\n")
    (mine / "dying.py").write_text(DYING)
    return ["--config-dir", str(mine), *QUICK, "-m", "method=dying,snip", f"output_dir={tmp_path / 'runs'}"]


@extra
def test_a_killed_job_is_reported_and_the_others_finish(dying, tmp_path, capfd, monkeypatch):
    from submitit import Job

    monkeypatch.setattr(Job, "_results_timeout_s", 0)  # a file system here is not slow
    assert main([*dying, "hydra/launcher=submitit_local"]) == 1
    said = capfd.readouterr().out
    assert re.search(
        r"\nfailed: \S+/dying-\S+\n  job \d+ ended without a result \(state \w+\); see \S+_log.err\n", said
    )
    assert said.count("\nfailed: ") == 1
    [metrics] = tmp_path.glob("runs/*/metrics.json")
    assert read_metrics(metrics.parent)["method"] == "snip"
    kept = json.loads((metrics.parent / "env.json").read_text())["command"]
    assert kept == shlex.join(["snip-run", *sys.argv[1:]])  # this command, not submitit's


@extra
def test_a_worker_process_that_is_killed_ends_in_the_table_and_the_failures(dying, capfd):
    assert main([*dying, "hydra/launcher=processes", "hydra.launcher.n_jobs=2"]) == 1
    said = capfd.readouterr().out
    assert "the launcher failed: TerminatedWorkerError" in said
    assert re.search(r"\nfailed: \S+/dying-\S+\n  it ended without a result; see its run.log; the same command", said)
