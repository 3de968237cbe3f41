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
