"""A verdict stands only where it means something, and so does the best of the last five evaluations."""

import csv
import io

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.report.cells import cells
from snip_cli.report.published.protocols import QUOTED_ITERATIONS
from snip_cli.report.records import read_tree
from snip_cli.report.tables.errors import rows
from snip_cli.report.tables.verdicts import evaluations
from tests.report.runs import ADAM, record
from tests.report.tables.test_errors import add_learned
from tests.snip_run import ROOT


def row_of(top):
    [row] = rows(cells(read_tree(top)))
    return row


@pytest.mark.parametrize(
    ("errors", "settings", "verdict"),
    [
        ([1.5, 1.6, 1.9], {}, "paper inside our ±"),
        ([1.9, 1.9, 1.9], {}, "paper outside our ±"),
        ([1.5, 1.9], {}, ""),
        ([1.9], {}, ""),
        ([1.5, 1.6, 1.9], {"iterations": 99_999}, ""),
        ([1.5, 1.6, 1.9], {"iterations": 200_000}, "paper inside our ±"),
        ([1.9] * 3, {"sparsity": 0.9, **ADAM}, "inside"),
        ([1.9], {"sparsity": 0.9, **ADAM}, ""),
        ([1.9] * 3, {"sparsity": 0.9, **ADAM, "iterations": 2000}, ""),
        ([1.9, 2.1, 2.0], {"method": "dns", "sparsity": 0.982, "iterations": 25_000}, "paper inside our ±"),
        ([1.9, 2.1, 2.0], {"method": "dns", "sparsity": 0.982, "iterations": 2000}, ""),
        ([1.9, 2.1, 2.0], {"method": "obd", "sparsity": 0.92, "iterations": 2000}, ""),
        ([1.9] * 3, {"sparsity": 0.5}, ""),
    ],
)
def test_short_runs_and_few_seeds_have_none(errors, settings, verdict, tmp_path):
    record(tmp_path, "a", errors, **settings)
    assert row_of(tmp_path)["verdict"] == verdict


def test_where_a_seed_learned_nothing_there_is_none_and_the_mean_without_it_stands_beside(tmp_path):
    add_learned(record(tmp_path, "a", [5.84, 88.66, 5.84, 5.90]), True, False, True, None)
    row = row_of(tmp_path)
    assert (row["verdict"], row["unlearned"]) == ("", "1")
    assert (row["error"], row["error_learned"]) == (pytest.approx(26.56), pytest.approx(5.86))
    assert row["std_learned"] == pytest.approx(0.0346, abs=1e-4)


def test_where_no_seed_learned_there_is_no_mean_without_them(tmp_path, capsys):
    add_learned(record(tmp_path, "a", [88.0] * 3), False, False, False)
    assert (row_of(tmp_path)["unlearned"], row_of(tmp_path)["error_learned"]) == ("0 1 2", None)
    assert main([str(tmp_path)]) == 0
    assert "(seeds 0, 1, 2)" in capsys.readouterr().out


def test_where_all_seeds_learned_there_is_no_column_of_those_that_did(tmp_path, capsys):
    add_learned(record(tmp_path, "a", [1.0, 2.0]), True, True)
    assert main([str(tmp_path)]) == 0
    assert "that learned" not in capsys.readouterr().out
    assert main([str(tmp_path), "--format", "csv"]) == 0
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["unlearned"], row["error_learned"]) == ("", "")


def test_of_many_rows_with_such_seeds_four_are_named(tmp_path, capsys):
    for number in range(6):
        folder = record(tmp_path, str(number), [88.0, 1.0], sparsity=number / 10 + 0.3)
        add_learned(folder, False, True)
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "(seed 0 of sparsity 0.3; seed 0 of sparsity 0.4; " in said
    assert "; and of 2 more rows)" in said


@pytest.mark.parametrize(("iterations", "best"), [(5000, 0.9), (4001, 0.9), (4000, None), (300, None), (0, None)])
def test_the_best_of_five_evaluations_needs_five(iterations, best, tmp_path):
    record(tmp_path, "a", [1.0], iterations=iterations)
    [row] = rows(cells(read_tree(tmp_path)))
    assert row["best_of_last_5"] == best


def test_a_training_that_restarts_from_an_iteration_is_evaluated_from_there_on():
    settings = {"schedule.iterations": 5000, "schedule.evaluate_every": 1000}
    assert (evaluations(settings), evaluations(settings | {"method.rewind": 2000})) == (5, 3)


def test_the_lengths_of_quoted_methods_are_those_of_their_schedules():
    written = {name: (ROOT / "configs" / "schedule" / f"lenet_{name}.yaml").read_text() for name in QUOTED_ITERATIONS}
    assert all(f"\niterations: {QUOTED_ITERATIONS[name]}\n" in text for name, text in written.items())
