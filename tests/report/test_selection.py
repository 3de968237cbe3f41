"""Reports pass over runs that trained nothing, unless they are asked for or only masks are drawn."""

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.report.figures.errors import write_curves
from snip_cli.report.selection import is_untrained
from tests.report.pictures import PNG, numbers
from tests.report.runs import record

PASSED_OVER = "passed over 3 runs that trained nothing; --untrained shows them\n"


def mixed(top):
    """A trained run among three that were only pruned, as scripts/figure2 leaves them."""
    record(top, "trained", [2.0], sparsity=0.92)
    for number in range(3):
        settings = {"method.classes": [number], "iterations": 0, "sparsity": 0.5}
        record(top, f"untrained{number}", [90.0 + number], masks={0: [[number] * 28] * 28}, **settings)


@pytest.mark.parametrize(
    ("settings", "untrained"),
    [
        ({"schedule.iterations": 0}, True),
        ({"schedule.iterations": 1}, False),
        ({"schedule.iterations": 0, "model.weights": "IMAGENET1K_V1"}, False),
        ({"schedule.iterations": 0, "model.weights": ""}, True),
        ({"schedule.iterations": 0, "dense_schedule.iterations": 300}, False),
        ({"schedule.iterations": 0, "dense_schedule.iterations": 0}, True),
    ],
)
def test_drawn_weights_without_a_training_are_untrained(settings, untrained):
    assert is_untrained(settings) is untrained


def test_a_table_passes_over_them_and_says_how_many(tmp_path, capsys):
    mixed(tmp_path)
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.err == PASSED_OVER
    assert len(said.out.splitlines()) == 3
    assert "method.classes" not in said.out


def test_they_are_shown_where_they_are_asked_for(tmp_path, capsys):
    mixed(tmp_path)
    assert main([str(tmp_path), "--untrained"]) == 0
    said = capsys.readouterr()
    assert (said.err, len(said.out.splitlines())) == ("", 6)


def test_a_figure_passes_over_them_and_masks_do_not(tmp_path, capsys):
    mixed(tmp_path)
    error, masks = tmp_path / "error.png", tmp_path / "masks.png"
    assert main([str(tmp_path), "--figure", str(error), "--masks", str(masks)]) == 0
    assert capsys.readouterr().err.startswith(PASSED_OVER)
    assert [row["error"] for row in numbers(error.with_suffix(".csv"))] == ["2.0"]
    assert [row["method.classes"] for row in numbers(masks.with_suffix(".csv"))] == ["[0]", "[1]", "[2]"]


def test_masks_alone_need_no_trained_run(tmp_path, capsys):
    for number in range(2):
        record(tmp_path, str(number), [90.0], iterations=0, masks={0: [[1] * 28] * 28}, sparsity=0.5 + number / 10)
    picture = tmp_path / "masks.png"
    assert main([str(tmp_path), "--masks", str(picture)]) == 0
    assert picture.read_bytes().startswith(PNG)
    assert "passed over" not in capsys.readouterr().err


def test_where_nothing_was_trained_one_sentence_says_so(tmp_path, capsys):
    record(tmp_path, "a", [90.0], iterations=0)
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "No run here was trained (schedule.iterations is 0 in all of them)" in said.err


def test_a_published_table_passes_over_them_too(tmp_path, capsys):
    record(tmp_path, "a", [1.6], sparsity=0.95)
    record(tmp_path, "b", [90.0], sparsity=0.98, iterations=0)
    assert main([str(tmp_path), "--table", "Table 1", "--format", "csv"]) == 0
    said = capsys.readouterr()
    assert "90.0" not in said.out
    assert said.err == "passed over 1 run that trained nothing; --untrained shows them\n"


def test_a_run_that_is_not_finished_has_not_trained_nothing(tmp_path, capsys):
    mixed(tmp_path)
    record(tmp_path, "unfinished", [], iterations=0, sparsity=0.6)
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr().err
    both = "3 runs that trained nothing and 1 unfinished run with schedule.iterations=0"
    assert said == f"passed over {both}; --untrained shows them\n"


def test_curves_of_tensorboard_have_no_untrained_run(tmp_path):
    mixed(tmp_path)
    assert [folder.name for folder in write_curves(tmp_path)] == ["snip-lenet_300_100-mnist"]
