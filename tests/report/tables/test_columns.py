"""The columns on request: the sparsity in weights alone, and what a result cost."""

import csv
import io

from snip_cli.commands.snip_report import main
from tests.report.runs import ADAM, record, with_costs

COST = {
    **{"iterations_before": 100000, "iterations_during": 300000, "iterations_after": 100000, "prunings": 4},
    **{"hyperparameters": ["rate", "retrain_rate"], "seconds_before": 150.4, "seconds_pruning": 2.0},
    **{"seconds_during": 90.0, "seconds_after": 30.0},
}


def table(capsys, *arguments):
    assert main([*map(str, arguments), "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_costs_are_means_over_the_seeds_and_shown_on_request_only(tmp_path, capsys):
    with_costs(record(tmp_path, "a", [1.5, 1.7]), COST, {**COST, "seconds_after": 50.0})
    assert "prunings" not in table(capsys, tmp_path)[0]
    [row] = table(capsys, tmp_path, "--columns", "weights,cost")
    assert float(row["weights_sparsity"]) == 0.985
    assert [float(row[f"iterations_{stage}"]) for stage in ("before", "during", "after")] == [1e5, 3e5, 1e5]
    assert (row["prunings"], row["hyperparameters"], float(row["seconds_after"])) == ("4", "2", 40)
    assert main([str(tmp_path), "--columns", "weights,cost"]) == 0
    shown = capsys.readouterr().out
    assert "100,000 + 300,000 + 100,000" in shown and "150 + 2 + 90 + 40" in shown and "0.9850" in shown


def test_a_record_of_an_earlier_version_has_a_dash_and_what_is_unknown_too(tmp_path, capsys):
    record(tmp_path, "old", [1.5], sparsity=0.9)
    with_costs(record(tmp_path, "outside", [1.6]), {**COST, "iterations_before": None, "seconds_before": None})
    assert main([str(tmp_path), "--columns", "weights,cost", "--format", "markdown"]) == 0
    old, outside = [
        [cell.strip() for cell in line.strip("|").split("|")][-5:]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("| snip")
    ]
    assert old == ["–"] * 5
    assert outside == ["0.9850", "– + 300,000 + 100,000", "4", "2", "– + 2 + 90 + 30"]


def test_table_1_has_them_beside_the_quoted_errors(tmp_path, capsys):
    with_costs(record(tmp_path, "a", [1.55], method="lwc", sparsity=0.917), COST)
    rows = table(capsys, tmp_path, "--table", "Table 1", "--columns", "weights,cost")
    [lwc] = [row for row in rows if row["method"] == "lwc" and row["model"] == "lenet_300_100"]
    assert (lwc["error"], lwc["published"], lwc["prunings"], lwc["n"]) == ("1.55", "1.6", "4", "1")
    assert (len(rows), sum(row["prunings"] == "" for row in rows)) == (20, 19)


def test_in_table_1_a_schedule_that_belongs_to_a_method_is_no_column_and_two_of_one_method_are(tmp_path, capsys):
    record(tmp_path, "snip", [1.6])
    own = {"method": "dns", "sparsity": 0.982, "schedule.learning_rate": 0.01}
    record(tmp_path, "dns", [2.0], **own)
    assert not [name for name in table(capsys, tmp_path, "--table", "Table 1")[0] if "schedule" in name]
    assert "schedule.learning_rate" in table(capsys, tmp_path)[0]
    record(tmp_path, "other", [2.1], **own | {"schedule.weight_decay": 0.0})
    rows = table(capsys, tmp_path, "--table", "Table 1")
    assert {row["schedule.weight_decay"] for row in rows if row["method"] == "dns" and row["n"] != "0"} == {
        "0.0005",
        "0.0",
    }


def test_in_table_1_a_reference_that_only_a_quoted_method_needed_is_left_out(tmp_path, capsys):
    for iterations in (100000, 2000):
        top = tmp_path / str(iterations)
        record(top, "sgd", [1.4], method="reference", sparsity=0, iterations=iterations)
        record(top, "adam", [1.8], method="reference", sparsity=0, **ADAM | {"iterations": min(iterations, 20000)})
        record(top, "other", [0.9], method="reference", sparsity=0, model="lenet_5_caffe", **ADAM)
        rows = [row for row in table(capsys, top, "--table", "Table 1") if row["n"] != "0"]
        assert [(row["model"], row["error"]) for row in rows] == [("lenet_300_100", "1.4"), ("lenet_5_caffe", "0.9")]
        assert len(table(capsys, top)) == 3


def test_a_quoted_row_of_a_short_training_is_marked(tmp_path, capsys):
    record(tmp_path, "a", [1.55], method="lwc", sparsity=0.917, iterations=2000)
    rows = table(capsys, tmp_path, "--table", "Table 1")
    assert [row["deviations"] for row in rows if row["n"] != "0"] == ["schedule.iterations=2000"]


def test_a_column_that_there_is_not_is_refused(tmp_path, capsys):
    record(tmp_path, "a", [1.5])
    assert main([str(tmp_path), "--columns", "weights,price"]) == 2
    assert "--columns takes weights and cost, separated by a comma: got 'price'." in capsys.readouterr().err


def test_a_damaged_cost_is_named(tmp_path, capsys):
    with_costs(record(tmp_path, "a", [1.5]), {**COST, "prunings": "four"})
    assert main([str(tmp_path)]) == 2
    assert "'prunings' is 'four'" in capsys.readouterr().err
