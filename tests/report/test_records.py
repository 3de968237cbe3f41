"""Records without tensors: read like run folders, and seeds of one run that lie in several places are merged."""

import csv
import io
import json

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.report.records import read_tree
from tests.report.runs import record
from tests.snip_run import run_quick


def table(capsys, *folders):
    assert main([*map(str, folders), "--format", "csv"]) == 0
    said = capsys.readouterr()
    return list(csv.DictReader(io.StringIO(said.out))), said.err


def test_a_record_is_three_files_that_name_nothing_of_this_machine(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "a-certain-host")
    folder = run_quick(tmp_path / "runs", "seeds=2", "sparsity=0.9", f"dataset.root={tmp_path}/data")
    capsys.readouterr()
    assert main([str(tmp_path / "runs"), "--records", str(tmp_path / "records")]) == 0
    copied = tmp_path / "records" / folder.name
    assert capsys.readouterr().out == f"{copied}\n"
    assert sorted(path.name for path in copied.iterdir()) == ["config.yaml", "env.json", "metrics.json"]
    everything = "".join(path.read_text() for path in copied.iterdir())
    assert str(tmp_path.parent) not in everything
    assert "a-certain-host" not in everything
    assert json.loads((copied / "env.json").read_text())["command"].startswith("snip-run")
    original, alone = (table(capsys, tmp_path / name)[0] for name in ("runs", "records"))
    assert alone == original
    assert alone[0]["n"] == "2"


def test_seeds_of_one_run_that_lie_in_several_places_are_one_row_and_count_once(tmp_path, capsys):
    record(tmp_path / "here", "a", [1.0, 2.0])
    record(tmp_path / "there", "a", [2.0, 3.0], seed=1)
    merged = read_tree(tmp_path)
    assert [list(run.results) for run in merged] == [[0, 1, 2]]
    assert len(merged[0].folders) == 2
    [row], said = table(capsys, tmp_path)
    assert (row["n"], row["error"], said) == ("3", "2.0", "")


def test_a_seed_whose_results_differ_is_named_and_the_first_counts(tmp_path, capsys):
    here, there = record(tmp_path / "here", "a", [1.0]), record(tmp_path / "there", "a", [1.5])
    [row], said = table(capsys, tmp_path)
    assert (row["n"], row["error"]) == ("1", "1.0")
    assert said == f"seed 0 differs between {here} (test error 1.00 %) and {there} (1.50 %): the first counts\n"


def test_a_seed_that_is_unfinished_in_one_place_counts_where_it_is_finished(tmp_path, capsys):
    record(tmp_path / "here", "a", [])
    record(tmp_path / "there", "a", [1.5])
    [row], _ = table(capsys, tmp_path)
    assert (row["n"], row["wanted"]) == ("1", "1")


@pytest.mark.parametrize(("option", "file"), [("--masks", "mask.pt"), ("--curves", "metrics.csv")])
def test_a_figure_that_needs_more_than_a_record_says_so_in_one_sentence(option, file, tmp_path, capsys):
    record(tmp_path, "a", [1.0])
    assert main([str(tmp_path), option, str(tmp_path / "figure.png")]) == 2
    said = capsys.readouterr().err
    assert file in said
    assert "a record without tensors has none" in said
    assert said.count("\n") == 1


def test_an_unfinished_run_has_no_record(tmp_path):
    record(tmp_path / "runs", "a", [])
    assert main([str(tmp_path / "runs"), "--records", str(tmp_path / "records")]) == 0
    assert not (tmp_path / "records").exists()


def copy_to(top, *folders):
    """Copy the records of these folders to `top` and return the exit code and the test error by seed of the run `a`."""
    code = main([*map(str, folders), "--records", str(top)])
    content = json.loads((top / "a" / "metrics.json").read_text())
    return code, {entry["seed"]: entry["test_error"] for entry in content["seeds"]}


def made_by(folder, command, **more):
    (folder / "env.json").write_text(json.dumps({"command": command, "host": "a-certain-host", **more}))


def commands_in(folder):
    content = json.loads((folder / "env.json").read_text())
    return content["command"], [earlier["command"] for earlier in content.get("earlier", [])]


def test_a_record_holds_the_seeds_of_all_folders(tmp_path, capsys):
    record(tmp_path / "one", "a", [1.0])
    record(tmp_path / "two", "a", [1.0, 2.0, 3.0])
    records = tmp_path / "records"
    assert copy_to(records, tmp_path / "one", tmp_path / "two") == (0, {0: 1.0, 1: 2.0, 2: 3.0})
    capsys.readouterr()
    [row], said = table(capsys, records)
    assert (row["n"], row["wanted"], said) == ("3", "3", "")


def test_a_record_never_loses_a_seed_that_it_holds(tmp_path):
    record(tmp_path / "one", "a", [1.0])
    record(tmp_path / "two", "a", [1.0, 2.0, 3.0])
    record(tmp_path / "three", "a", [3.0, 4.0], seed=2)
    records = tmp_path / "records"
    copy_to(records, tmp_path / "two")
    assert copy_to(records, tmp_path / "one") == (0, {0: 1.0, 1: 2.0, 2: 3.0})
    assert copy_to(records, tmp_path / "three") == (0, {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0})


def test_the_record_that_is_there_wins_over_a_run_that_differs(tmp_path, capsys):
    run = record(tmp_path / "a place before records", "a", [1.5, 2.0])
    copied = record(tmp_path / "records", "a", [1.0])
    assert copy_to(tmp_path / "records", run) == (0, {0: 1.0, 1: 2.0})
    assert (
        capsys.readouterr().err
        == f"seed 0 differs between {copied} (test error 1.00 %) and {run} (1.50 %): the first counts\n"
    )


def test_the_environment_of_a_record_is_that_of_most_seeds_and_lists_each_other_one_once(tmp_path):
    made_by(record(tmp_path / "one", "a", [1.0]), "first")
    made_by(record(tmp_path / "two", "a", [1.0, 2.0]), "second", earlier=[{"command": "killed", "host": "other-host"}])
    records = tmp_path / "records"
    copy_to(records, tmp_path / "one")
    assert commands_in(records / "a") == ("first", [])
    made_by(tmp_path / "one" / "a", "first", wall_seconds=9.0)
    for _ in range(2):
        copy_to(records, tmp_path / "one", tmp_path / "two")
        assert commands_in(records / "a") == ("second", ["killed", "first"])
    assert "host" not in (records / "a" / "env.json").read_text()


@pytest.mark.parametrize("damage", ["metrics.json", "config.yaml"])
def test_a_damaged_record_is_not_replaced_and_the_others_are_written(damage, tmp_path, capsys):
    record(tmp_path / "runs", "a", [1.0])
    record(tmp_path / "runs", "b", [2.0], sparsity=0.98)
    records = tmp_path / "records"
    (record(records, "a", [1.0, 2.0]) / damage).write_text("{")
    assert main([str(tmp_path / "runs"), "--records", str(records)]) == 2
    said = capsys.readouterr()
    assert f"No record was written to {records / 'a'}: " in said.err
    assert said.out == f"{records / 'b'}\n"
    assert (records / "a" / damage).read_text() == "{"


def test_a_record_of_other_settings_is_not_replaced(tmp_path, capsys):
    record(tmp_path / "runs", "a", [1.0])
    record(tmp_path / "records", "a", [2.0], iterations=300)
    assert copy_to(tmp_path / "records", tmp_path / "runs") == (2, {0: 2.0})
    assert "has other settings than the run of the same name" in capsys.readouterr().err


@pytest.mark.parametrize("weights", ["/somewhere/else/weights.pt", "weights.pt"])
def test_a_run_from_pretrained_weights_is_merged_with_its_record(weights, tmp_path, capsys):
    pretrained = {"model.weights": weights, "method.redraw": False}
    made_by(record(tmp_path / "runs", "a", [1.0], **pretrained), "snip-run", weights="0123456789abcdef")
    copy_to(tmp_path / "records", tmp_path / "runs")
    capsys.readouterr()
    [merged] = read_tree(tmp_path)
    assert len(merged.folders) == 2
    assert merged.settings["model.weights"] == "weights.pt (01234567)"
    [row], said = table(capsys, tmp_path)
    assert (row["n"], said) == ("1", "")


def test_files_of_the_same_name_with_different_weights_are_different_settings(tmp_path):
    for name, content in (("a", "0" * 16), ("b", "1" * 16)):
        folder = record(tmp_path, name, [1.0], **{"model.weights": f"/{name}/weights.pt", "method.redraw": False})
        made_by(folder, "snip-run", weights=content)
    assert len({run.settings["model.weights"] for run in read_tree(tmp_path)}) == 2
