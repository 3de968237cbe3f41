"""Error against sparsity as a picture, and the words that a figure says of itself."""

import numpy
import pytest

from snip_cli.report.captions import common_and_own, extent, phrase
from snip_cli.report.cells import cells
from snip_cli.report.figures.axes import spaced, stretch
from snip_cli.report.figures.errors import draw_errors
from snip_cli.report.records import read_tree
from tests.report.pictures import drawn
from tests.report.runs import record


def figure_of(top):
    [axes] = draw_errors(cells(read_tree(top))).figure.axes
    return axes


def test_the_figure_is_a_picture_with_its_numbers_beside_it(tmp_path):
    record(tmp_path, "a", [1.4, 1.5], sparsity=0)
    record(tmp_path, "b", [1.9, 2.2])
    record(tmp_path, "unfinished", [], sparsity=0.98)
    rows = drawn(tmp_path, "--figure")
    assert [(row["sparsity"], row["n"], float(row["error"])) for row in rows] == [
        ("0.0", "2", pytest.approx(1.45)),
        ("0.95", "2", pytest.approx(2.05)),
    ]


def test_it_can_be_drawn_again(tmp_path):
    record(tmp_path, "a", [1.9])
    assert drawn(tmp_path, "--figure") == drawn(tmp_path, "--figure")
    assert len(list((tmp_path / "figures" / "picture").iterdir())) == 1


def test_published_numbers_are_crosses_beside_few_seeds_but_not_beside_another_protocol(tmp_path):
    record(tmp_path, "a", [1.9])
    assert len(figure_of(tmp_path).get_legend_handles_labels()[1]) == 2
    record(tmp_path, "a2", [1.9], model="lenet_5_caffe", sparsity=0.98, iterations=300)
    assert len(figure_of(tmp_path).get_legend_handles_labels()[1]) == 3


def test_the_title_has_what_the_lines_share_and_the_legend_what_they_do_not(tmp_path):
    record(tmp_path, "a", [1.9] * 20)
    record(tmp_path, "b", [1.9] * 20, model="lenet_5_caffe", sparsity=0.98)
    axes = figure_of(tmp_path)
    assert axes.get_title() == "snip, mnist (n = 20, 100,000 iterations)"
    assert axes.get_legend_handles_labels()[1][::2] == ["lenet_300_100 (n = 20)", "lenet_5_caffe (n = 20)"]


def test_a_title_says_what_is_short(tmp_path):
    record(tmp_path, "few", [1.9, 2.0])
    assert extent(cells(read_tree(tmp_path))) == "short: n = 2, 100,000 iterations"
    record(tmp_path, "cut", [1.9] * 20, model="lenet_5_caffe", sparsity=0.98, iterations=300)
    assert extent(cells(read_tree(tmp_path))) == "short: n = 2 to 20, 300 to 100,000 iterations"


def test_another_schedule_than_the_papers_is_not_short(tmp_path):
    own = {"dataset": "cifar10", "model": "vgg16", "iterations": 105600, "schedule.milestones": [31680, 63360]}
    record(tmp_path, "a", [6.0], **own, **{"schedule.batch_size": 128})
    assert extent(cells(read_tree(tmp_path))) == "n = 1, 105,600 iterations"


@pytest.mark.parametrize(("milestones", "short"), [([7500, 15000, 22500], "short: "), ([7500, 15000, 20000], "")])
def test_a_schedule_is_short_too_if_its_milestones_are_the_protocols_to_scale(milestones, short, tmp_path):
    record(tmp_path, "a", [1.9] * 20, iterations=30_000, **{"schedule.milestones": milestones})
    assert extent(cells(read_tree(tmp_path))) == f"{short}n = 20, 30,000 iterations"


def test_where_no_protocol_is_published_nothing_is_short(tmp_path):
    record(tmp_path, "a", [1.9], dataset="digits", iterations=400)
    assert extent(cells(read_tree(tmp_path))) == "n = 1, 400 iterations"


def test_labels_that_would_run_into_each_other_are_left_out():
    asked = [0, 10, 20, 30, 50, 90, 95, 99]
    shown = spaced([str(place) for place in asked], stretch(numpy.array(asked)))
    assert shown == ["0", "", "20", "", "50", "90", "95", "99"]


def test_settings_in_words():
    assert phrase("model", "lenet_5_caffe") == "lenet_5_caffe"
    assert phrase("dataset.random_labels", True) == "random labels"
    assert phrase("dataset.random_labels", False) == ""
    assert phrase("schedule.weight_decay", 0.0) == "weight decay 0"
    assert phrase("init.name", "rn") == "init rn"


def test_keys_are_distinguished_by_what_differs():
    keys = [{"model": "a", "sparsity": 0.9, "x.b": 1}, {"model": "a", "sparsity": 0.5, "x.b": ""}]
    assert common_and_own(keys) == ("a", ["sparsity 0.9, b 1", "sparsity 0.5"])
    assert common_and_own(keys[:1]) == ("a, sparsity 0.9, b 1", [""])
