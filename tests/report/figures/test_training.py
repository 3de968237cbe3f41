"""Training curves: loss and error against iteration."""

import math

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.report.cells import cells
from snip_cli.report.figures.training import draw_trainings, points_of
from snip_cli.report.records import read_tree
from tests.report.pictures import drawn
from tests.report.runs import evaluations, record


def trained(top, name, *, losses, errors, train_errors=None, **settings):
    evaluations(record(top, name, [1.0] * len(losses), **settings), losses, errors, train_errors)


def figure_of(top):
    return draw_trainings(cells(read_tree(top))).figure


def test_a_point_is_mean_and_sample_standard_deviation_over_seeds(tmp_path):
    trained(tmp_path, "a", losses={0: [2.0, 1.0], 1: [3.0, 1.0]}, errors={0: [9.0, 5.0], 1: [9.0, 6.0]})
    first, last = drawn(tmp_path, "--curves")
    assert [(row["iteration"], row["n"]) for row in (first, last)] == [("1000", "2"), ("2000", "2")]
    assert [float(first[name]) for name in ("train_loss", "train_loss_std")] == [2.5, pytest.approx(0.5**0.5)]
    assert [float(last[name]) for name in ("test_error", "test_error_std")] == [5.5, pytest.approx(0.5**0.5)]


def test_one_seed_has_no_standard_deviation(tmp_path):
    trained(tmp_path, "a", losses={0: [2.0]}, errors={0: [9.0]})
    [row] = drawn(tmp_path, "--curves")
    assert row["train_loss_std"] == ""


def test_the_training_error_has_a_panel_where_it_was_measured(tmp_path):
    trained(tmp_path, "a", losses={0: [2.0]}, errors={0: [9.0]})
    assert [ax.get_ylabel() for ax in figure_of(tmp_path).axes] == ["training loss", "test error (%)"]
    measured = {"losses": {0: [2.0]}, "errors": {0: [9.0]}, "train_errors": {0: [8.0]}}
    trained(tmp_path, "b", **measured, **{"schedule.train_error": True})
    panels = figure_of(tmp_path).axes
    assert [ax.get_ylabel() for ax in panels] == ["training loss", "training error (%)", "test error (%)"]
    assert [line.get_ydata().tolist() for line in panels[1].get_lines()][-1] == [8.0]


def test_a_line_a_cell_named_by_what_differs(tmp_path):
    of = {"losses": {0: [2.0]}, "errors": {0: [9.0]}, "model": "lenet_5_caffe"}
    trained(tmp_path, "a", **of, sparsity=0)
    trained(tmp_path, "b", **of, sparsity=0, **{"dataset.random_labels": True})
    trained(tmp_path, "c", **of, sparsity=0.99)
    figure = figure_of(tmp_path)
    names = figure.axes[0].get_legend_handles_labels()[1]
    assert names == ["reference, sparsity 0", "snip, sparsity 0.99", "reference, sparsity 0, random labels"]
    assert figure.get_suptitle() == "lenet_5_caffe, mnist (n = 1, 100,000 iterations, learning rate 0.1)"


def test_a_training_that_goes_on_is_drawn_as_far_as_it_is(tmp_path):
    folder = record(tmp_path, "a", [])
    evaluations(folder, {0: [2.0, 1.0]}, {0: [9.0, 5.0]})
    assert len(drawn(tmp_path, "--curves")) == 2


def test_where_nothing_was_evaluated_there_is_nothing_to_draw(tmp_path, capsys):
    record(tmp_path, "a", [])
    assert main([str(tmp_path), "--curves", str(tmp_path / "curves.png")]) == 2
    assert "There is nothing to draw: no run has a metrics.csv with evaluations, and" in capsys.readouterr().err


def test_a_seed_that_diverged_has_no_deviation_and_spoils_no_other_iteration(tmp_path):
    folder = record(tmp_path, "a", [2.0, 90.0])
    evaluations(
        folder, {0: [0.5, 0.25], 1: [0.75, math.inf], 2: [1.0, math.nan]}, {seed: [5.0, 4.0] for seed in range(3)}
    )
    [cell] = cells(read_tree(tmp_path))
    first, last = points_of(cell)
    assert (first["train_loss"], first["train_loss_std"]) == (0.75, 0.25)
    assert not math.isfinite(last["train_loss"]) and last["train_loss_std"] is None
    assert (last["test_error"], last["test_error_std"]) == (4.0, 0.0)
