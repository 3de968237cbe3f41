"""The axes of error against sparsity: scales, limits that a dead seed cannot ruin, references, and looks that do not repeat."""

import warnings

import numpy
import pytest

from snip_cli.commands.snip_report import main
from snip_cli.errors import ConfigError
from snip_cli.report.cells import cells
from snip_cli.report.figures.axes import Look, expit, logit, spaced
from snip_cli.report.figures.errors import draw_errors
from snip_cli.report.records import read_tree
from tests.report.runs import record


def axes_of(top, **look):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_errors(cells(read_tree(top)), Look(**look)).figure
        figure.canvas.draw()
    [axes] = figure.axes
    return axes


def line(axes, start):
    [found] = [line for line in axes.get_lines() if str(line.get_label()).startswith(start)]
    return found


def test_the_logit_tells_high_sparsities_apart_and_its_inverse_returns():
    sparsities = numpy.array([1.0, 10.0, 50.0, 90.0, 99.0, 99.9])
    assert logit(sparsities) == pytest.approx([-1.9956, -0.9542, 0.0, 0.9542, 1.9956, 2.9996], abs=1e-4)
    assert expit(logit(sparsities)) == pytest.approx(sparsities)


def test_on_a_logit_axis_equal_odds_are_equally_far_and_the_reference_is_a_line(tmp_path):
    record(tmp_path, "ref", [1.0, 2.0], sparsity=0.0)
    for sparsity in (0.9, 0.99, 0.999):
        record(tmp_path, f"{sparsity}", [2.0], sparsity=sparsity)
    axes = axes_of(tmp_path, logit=True)
    assert list(line(axes, "snip").get_xdata()) == pytest.approx([90, 99, 99.9])
    assert set(line(axes, "reference").get_ydata()) == {1.5}
    places = axes.transData.transform([(sparsity, 1.0) for sparsity in (90, 99, 99.9)])[:, 0]
    assert places[2] - places[1] == pytest.approx(places[1] - places[0], rel=0.06)


def test_a_logit_axis_without_a_pruned_run_is_refused(tmp_path):
    record(tmp_path, "ref", [1.0], sparsity=0.0)
    with pytest.raises(ConfigError, match="leave out --logit"):
        axes_of(tmp_path, logit=True)


def written(axes):
    """The values outside the axis: text, sparsity and colour of each, from the end of the axis on."""
    return [(text.get_text(), text.xy[0], text.get_color()) for text in axes.texts]


def test_one_dead_seed_does_not_stretch_the_axis_and_a_mean_outside_is_written(tmp_path):
    record(tmp_path, "a", [2.0, 2.0, 2.2], sparsity=0.9)
    record(tmp_path, "b", [3.0, 3.0, 90.0], sparsity=0.99)
    axes = axes_of(tmp_path)
    assert axes.get_ylim() == (0.0, pytest.approx(1.05 * 3.0))
    assert written(axes) == [("▲ 32.00", 99.0, line(axes, "snip").get_color())]


def test_means_outside_at_one_place_keep_colour_and_order(tmp_path):
    for method, last in (("magnitude", [90.0]), ("random", [80.0, 90.0]), ("snip", [3.0])):
        for sparsity, errors in ((0.9, [2.0]), (0.99, last)):
            record(tmp_path, f"{method}{sparsity}", errors, method=method, sparsity=sparsity, **{"dataset.classes": 4})
    axes = axes_of(tmp_path)
    colours = {method: line(axes, method).get_color() for method in ("magnitude", "random", "snip")}
    assert written(axes) == [("▲ 90.00", 99.0, colours["magnitude"]), ("▲ 85.00", 99.0, colours["random"])]
    heights = [text.get_window_extent() for text in axes.texts]
    assert heights[0].y0 >= heights[1].y1 - 1 and heights[0].y1 <= axes.get_window_extent().y1


def test_a_mean_with_a_dead_seed_that_is_near_the_others_is_inside(tmp_path):
    record(tmp_path, "a", [89.33], method="magnitude", sparsity=0.99)
    record(tmp_path, "b", [67.67, 71.33, 89.33], method="random", sparsity=0.99)
    axes = axes_of(tmp_path)
    assert axes.get_ylim()[1] > 89.33 and not axes.texts


def test_a_logarithmic_axis_reaches_every_mean_and_bands_and_references(tmp_path):
    record(tmp_path, "ref", [0.4], sparsity=0.0)
    record(tmp_path, "a", [1.0, 2.0, 3.0], sparsity=0.9)
    record(tmp_path, "b", [3.0, 3.0, 90.0], sparsity=0.99)
    low, high = axes_of(tmp_path, log=True, logit=True).get_ylim()
    assert low < 0.4 and high > 32.0
    (tmp_path / "ref" / "metrics.json").unlink()
    assert axes_of(tmp_path, log=True).get_ylim()[0] == 1.0


def test_without_a_dead_seed_all_points_are_inside(tmp_path):
    record(tmp_path, "a", [2.0, 2.5], sparsity=0.9)
    record(tmp_path, "b", [30.0, 40.0], sparsity=0.99)
    low, high = axes_of(tmp_path).get_ylim()
    assert low < 2.0 and high > 40.0


def test_a_logarithmic_axis_shows_a_zero_as_below_it(tmp_path):
    record(tmp_path, "a", [0.0], sparsity=0.5)
    record(tmp_path, "b", [0.5, 1.5], sparsity=0.9)
    axes = axes_of(tmp_path, log=True)
    assert axes.get_yscale() == "log" and axes.get_ylim()[0] > 0
    assert [text[:2] for text in written(axes)] == [("▼ 0.00", 50.0)]


def test_the_axis_of_sparsities_ends_beside_its_points(tmp_path):
    record(tmp_path, "ref", [1.0], sparsity=0.0)
    record(tmp_path, "a", [2.0], sparsity=0.995)
    axes = axes_of(tmp_path)
    assert axes.get_xlim()[1] < 99.7


def test_bars_are_as_long_as_the_band_is_wide(tmp_path):
    record(tmp_path, "a", [1.0, 2.0, 3.0])
    [bars] = axes_of(tmp_path, bars=True).containers[0][2]
    assert bars.get_segments()[0][:, 1] == pytest.approx([1.0, 3.0])
    assert not axes_of(tmp_path).containers


def test_each_network_has_its_own_reference(tmp_path):
    for model, error in (("lenet_300_100", 1.5), ("lenet_5_caffe", 0.9)):
        record(tmp_path, f"{model}-ref", [error], sparsity=0.0, model=model)
        record(tmp_path, model, [2.0], model=model)
    axes = axes_of(tmp_path)
    assert set(line(axes, "reference, lenet_5_caffe").get_ydata()) == {0.9}
    assert set(line(axes, "reference, lenet_300_100").get_ydata()) == {1.5}


def test_more_lines_than_colours_look_different(tmp_path):
    for number in range(12):
        record(tmp_path, f"{number}", [2.0], **{"schedule.momentum": number / 20})
    drawn = [one for one in axes_of(tmp_path).get_lines() if "momentum" in str(one.get_label())]
    assert len({(one.get_color(), one.get_linestyle(), one.get_marker()) for one in drawn}) == 12


def test_the_options_of_the_figure_need_a_figure(tmp_path, capsys):
    record(tmp_path, "a", [2.0])
    for option in ("--log", "--logit", "--bars"):
        assert main([str(tmp_path), option]) == 2
        assert "--figure" in capsys.readouterr().err


def test_a_logit_axis_ends_beside_its_points(tmp_path):
    for sparsity in (0.2, 0.5, 0.98):
        record(tmp_path, f"{sparsity}", [2.0], sparsity=sparsity)
    low, high = axes_of(tmp_path, logit=True).get_xlim()
    first, last = logit(numpy.array([20.0, 98.0]))
    assert logit(numpy.array([low, high])) == pytest.approx(
        [first - 0.05 * (last - first), last + 0.05 * (last - first)]
    )


def test_long_labels_need_more_room_than_short_ones():
    places = numpy.array([0.0, 0.05, 0.5, 1.0])
    assert spaced(["0", "5", "50", "100"], places) == ["0", "5", "50", "100"]
    assert spaced(["19.93", "35.88", "50", "100"], places) == ["19.93", "", "50", "100"]
