"""snip-report --list and --delete-unfinished: run folders with their state, and what may be deleted."""

import csv
import io
import json
import os
import shutil
import time

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.report.figures.errors import write_curves
from snip_cli.runfolder.folder import open_folder
from snip_cli.runfolder.state import state_of
from tests.report.runs import evaluations, record
from tests.snip_run import QUICK, run_quick
from tests.snip_run import main as run


def unfinished(top, name, **settings):
    """A run that was killed before its first result."""
    folder = record(top, name, [], **settings)
    (folder / "run.log").write_text("")
    return folder


def listed(capsys, *arguments):
    capsys.readouterr()
    assert main([*map(str, arguments), "--list", "--format", "csv"]) == 0
    return {row["folder"].rpartition("/")[2]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}


def answer(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_list_says_what_each_folder_is(tmp_path, capsys):
    record(tmp_path, "done", [1.0, 2.0], sparsity=0.9)
    record(tmp_path, "part", [1.0, 2.0], seeds=5, sparsity=0.98)
    evaluations(unfinished(tmp_path, "killed", sparsity=0.99), {0: [1.0, 0.5]}, {0: [5.0, 4.0]})
    unfinished(tmp_path, "begun", sparsity=0.5)
    (record(tmp_path, "bad", [1.0]) / "config.yaml").write_text("{")
    rows = listed(capsys, tmp_path)
    assert {name: (row["settings"], row["state"]) for name, row in rows.items()} == {
        "done": ("sparsity 0.9", "finished"),
        "part": ("sparsity 0.98", "2 of 5 seeds"),
        "killed": ("sparsity 0.99", "unfinished, at 2,000 of 100,000 iterations"),
        "begun": ("sparsity 0.5", "unfinished"),
        "bad": ("", "damaged"),
    }
    assert (rows["part"]["seeds_finished"], rows["part"]["seeds_wanted"]) == ("2", "5")


def test_settings_are_those_in_which_the_runs_differ(tmp_path, capsys):
    record(tmp_path, "a", [1.0], iterations=300)
    record(tmp_path, "b", [1.0], iterations=600)
    record(tmp_path, "c", [1.0], iterations=600, seed=3)
    record(tmp_path, "d", [1.0], model="lenet_5_caffe")
    assert [row["settings"] for row in listed(capsys, tmp_path).values()] == [
        *("lenet_300_100, iterations 300, seed 0", "lenet_300_100, iterations 600, seed 0"),
        *("lenet_300_100, iterations 600, seed 3", "lenet_5_caffe"),
    ]


def test_age_is_since_the_last_change_and_size_that_of_all_files(tmp_path, capsys):
    folder = record(tmp_path, "a", [1.0])
    (folder / "steps").mkdir()
    (folder / "steps" / "scores.pt").write_bytes(b"0" * 1_000_000)
    (folder / ".lock").touch()
    whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    before = time.time() - 7500
    for path in folder.rglob("*"):
        if path.name != ".lock":
            os.utime(path, (before, before))
    for _ in range(2):  # looking changes nothing
        [row] = listed(capsys, tmp_path).values()
        assert (int(row["size"]), int(row["age"])) == (whole, pytest.approx(7500, abs=30))
    assert main([str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out.split()[-6:] == ["2", "h", "5", "min", "1.0", "MB"]


def test_a_run_in_progress_is_named_so_and_is_kept(tmp_path, capsys, monkeypatch):
    folder = unfinished(tmp_path, "a")
    with open_folder(folder):
        assert listed(capsys, tmp_path)["a"]["state"] == "running"
        answer(monkeypatch, "y\n")
        assert main([str(tmp_path), "--delete-unfinished"]) == 0
    assert "1 unfinished run is kept: running, damaged, or with finished seeds" in capsys.readouterr().err
    assert folder.exists()


def test_what_is_deleted_is_shown_and_asked_for(tmp_path, capsys, monkeypatch):
    done, part = record(tmp_path, "done", [1.0]), record(tmp_path, "part", [1.0], seeds=2, sparsity=0.9)
    killed = unfinished(tmp_path, "killed", sparsity=0.99)
    for said in ("n\n", "\n", "", "yesterday\n"):
        answer(monkeypatch, said)
        assert main([str(tmp_path), "--delete-unfinished"]) == 0
        told = capsys.readouterr().err
        assert "killed" in told and "done" not in told
        assert "delete this run (" in told and told.endswith("nothing was deleted\n")
        assert killed.exists()
    answer(monkeypatch, "y\n")
    assert main([str(tmp_path), "--delete-unfinished"]) == 0
    assert f"deleted: {killed}\n" in capsys.readouterr().err
    assert (done.exists(), part.exists(), killed.exists()) == (True, True, False)
    assert main([str(tmp_path), "--delete-unfinished"]) == 0
    assert capsys.readouterr().err.endswith("there is nothing to delete\n")


@pytest.mark.parametrize("kept", ["a config of another program", "a damaged run", "a run with another one in it"])
def test_what_may_not_be_deleted_is_kept(kept, tmp_path, capsys, monkeypatch):
    folder = record(tmp_path, "a", [])
    if kept == "a damaged run":
        (folder / "config.yaml").write_text("{")
    if kept == "a run with another one in it":
        record(folder, "inner", [1.0])
    if kept != "a config of another program":
        (folder / "run.log").touch()
    answer(monkeypatch, "y\n")
    assert main([str(tmp_path), "--delete-unfinished"]) == 0
    assert "there is nothing to delete" in capsys.readouterr().err
    assert folder.exists()


def test_a_run_that_began_after_the_question_is_kept_and_the_others_go(tmp_path, capsys, monkeypatch):
    running, other = unfinished(tmp_path, "a", sparsity=0.9), unfinished(tmp_path, "b")
    states = [state_of(running), state_of(other)]
    monkeypatch.setattr("snip_cli.commands.run_list.state_of", lambda _: states.pop(0))
    answer(monkeypatch, "yes\n")
    with open_folder(running):
        assert main([str(tmp_path), "--delete-unfinished"]) == 2
    assert f"{running} is kept: a process has begun to work on it." in capsys.readouterr().err
    assert (running.exists(), other.exists()) == (True, False)


def test_curves_go_when_their_runs_do(tmp_path, capsys):
    gone = record(tmp_path, "a", [1.0], method="random")
    record(tmp_path, "b", [2.0])
    write_curves(tmp_path)
    curves = tmp_path / "curves"
    assert len(list(curves.iterdir())) == 2
    listed(capsys, tmp_path)
    assert len(list(curves.iterdir())) == 2
    shutil.rmtree(gone)
    assert main([str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().err == f"wrote {curves} again: one was no longer of the runs there\n"
    assert [path.name for path in curves.iterdir()] == ["snip-lenet_300_100-mnist"]
    shutil.rmtree(tmp_path / "b")
    assert write_curves(tmp_path) == []
    assert not curves.exists()


def test_a_real_run_that_was_killed_is_deleted_and_can_be_made_again(tmp_path, capsys, monkeypatch):
    folder = run_quick(tmp_path, "sparsity=0.9")
    before = json.loads((folder / "metrics.json").read_text())["test_error_mean"]
    (folder / "metrics.json").unlink()
    assert listed(capsys, tmp_path)[folder.name]["state"] == "unfinished, at 8 of 8 iterations"
    answer(monkeypatch, "y\n")
    assert main([str(tmp_path), "--delete-unfinished"]) == 0
    assert not folder.exists()
    assert run([*QUICK, f"output_dir={tmp_path}", "sparsity=0.9"]) == 0
    assert json.loads((folder / "metrics.json").read_text())["test_error_mean"] == before


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["--list", "--table", "Table 1"], "--list cannot be combined with --table"),
        (["--list", "--limits", "l.png"], "--list cannot be combined with --limits"),
        (["--delete-unfinished", "--records", "r"], "--delete-unfinished cannot be combined with --records"),
        (["--limits", "l.png", "--layers"], "--limits cannot be combined with --layers"),
        (["nowhere", "--list"], "There is no run below nowhere"),
    ],
)
def test_bad_input_is_one_sentence(arguments, phrase, tmp_path, capsys):
    record(tmp_path, "a", [1.0])
    assert main([str(tmp_path), *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert phrase in said.err
