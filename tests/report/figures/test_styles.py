"""How far an axis of errors reaches, and how lines look."""

import logging

from snip_cli.report.cells import cells
from snip_cli.report.figures.styles import deviation, highest_error, style_of, warn_of_repeats
from snip_cli.report.records import read_tree
from tests.report.runs import record


def test_a_dead_seed_does_not_stretch_the_axis(tmp_path):
    record(tmp_path, "a", [2.0, 2.0, 90.0], sparsity=0.5)
    assert highest_error(cells(read_tree(tmp_path))) == 1.05 * 2.0


def test_the_axis_reaches_the_band_and_the_published_number(tmp_path):
    record(tmp_path, "a", [1.0, 2.0, 3.0], sparsity=0.5)
    assert highest_error(cells(read_tree(tmp_path))) == 1.05 * 3.0
    record(tmp_path, "b", [1.0], model="gru_s", sparsity=0.95)  # published: 2.41
    record(tmp_path, "c", [1.0], model="alexnet_s", dataset="cifar10", sparsity=0.9)  # published: 14.99
    assert highest_error(cells(read_tree(tmp_path))) == 1.05 * 14.99


def test_where_no_seed_learned_anything_the_axis_shows_them(tmp_path):
    record(tmp_path, "a", [90.0, 88.65])
    assert 90 < highest_error(cells(read_tree(tmp_path))) <= 100


def test_forty_lines_look_different_and_a_repeat_is_said(caplog):
    assert len({style_of(number) for number in range(40)}) == 40
    with caplog.at_level(logging.WARNING, "snip_cli"):
        warn_of_repeats(40)
        assert not caplog.records
        warn_of_repeats(41)
    assert "41 lines" in caplog.text


def test_a_deviation_over_a_dead_seed_is_not_drawn(tmp_path):
    record(tmp_path, "a", [1.0, 2.0, 3.0])
    record(tmp_path, "b", [1.0, 2.0, 90.0], sparsity=0.5)
    record(tmp_path, "c", [1.0], sparsity=0.6)
    assert {cell.sparsity: deviation(cell) for cell in cells(read_tree(tmp_path))} == {0.95: 1.0, 0.5: 0.0, 0.6: 0.0}
