"""Densities of layers as bars: what is drawn where, and what a logarithmic axis cannot show."""

import io
import warnings

import pytest

from snip_cli.errors import ConfigError
from snip_cli.report.cells import cells
from snip_cli.report.figures.layers import draw_layers
from snip_cli.report.layers import Layer, whole
from snip_cli.report.records import read_tree
from snip_cli.report.tables.layers import density
from tests.report.runs import record


def layers(*kept, effective=None):
    """Layers of 100 parameters."""
    effective = effective or kept
    pairs = zip(kept, effective, strict=True)
    return [Layer(f"fc{number}", "10×10", 100, of, on, 0.5) for number, (of, on) in enumerate(pairs, 1)]


def figure_of(top, *of_cells):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = draw_layers(cells(read_tree(top)), of_cells)
        drawing.figure.savefig(io.BytesIO(), format="png")
    return drawing


def test_bars_of_a_layer_stand_side_by_side_by_method(tmp_path):
    record(tmp_path, "a", [1.0], method="random")
    record(tmp_path, "b", [1.0], method="snip")
    drawing = figure_of(tmp_path, layers(10, 20), layers(5, 40))
    [axes] = drawing.figure.axes
    heights = [round(bar.get_height(), 4) for bar in axes.patches]
    assert heights == [0.1, 0.2, 0.05, 0.4]
    assert axes.patches[0].get_x() + axes.patches[0].get_width() == pytest.approx(axes.patches[2].get_x())
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == [
        "random",
        "snip",
        "effective density",
    ]
    assert axes.get_title() == "lenet_300_100, mnist, sparsity 0.95"


def test_every_network_and_sparsity_has_a_panel_and_the_reference_none(tmp_path):
    record(tmp_path, "0", [1.0], method="reference", sparsity=0)
    record(tmp_path, "a", [1.0], sparsity=0.9)
    record(tmp_path, "b", [1.0], sparsity=0.98)
    record(tmp_path, "c", [1.0], sparsity=0.98, model="lenet_5_caffe")
    drawing = figure_of(tmp_path, layers(100, 100), layers(10, 20), layers(1, 2), layers(3, 4))
    assert [axes.get_title() for axes in drawing.figure.axes] == [
        "lenet_300_100, mnist, sparsity 0.9",
        "lenet_300_100, mnist, sparsity 0.98",
        "lenet_5_caffe, mnist, sparsity 0.98",
    ]
    assert len(drawing.rows) == 6


def test_what_is_zero_is_written(tmp_path):
    record(tmp_path, "a", [1.0])
    drawing = figure_of(tmp_path, layers(0, 50, 10, effective=(0, 0, 1)))
    [axes] = drawing.figure.axes
    assert [text.get_text() for text in axes.texts] == ["0", "0"]
    assert axes.get_ylim() == pytest.approx((0.001, 1.0))


def test_without_a_pruned_network_there_is_nothing_to_draw(tmp_path):
    record(tmp_path, "a", [1.0], method="reference", sparsity=0)
    with pytest.raises(ConfigError, match="no run with known layers is pruned"):
        figure_of(tmp_path, layers(100, 100))


def test_all_layers_as_one_know_what_each_of_them_knows():
    known = whole(layers(10, 30))
    assert (known.total, known.kept, known.effective_kept, known.multiply_adds) == (200, 40, 40, 1.0)
    some = whole([*layers(10), Layer("fc2", "", 100, 10, None, None)])
    assert (some.effective_density, some.multiply_adds, some.density) == (None, None, 0.1)


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.0, "0.0000"), (1.0, "1.0000"), (0.00012, "1.2e-04"), (0.0123, "0.0123")]
)
def test_a_small_density_is_not_rounded_away(value, shown):
    assert density(value) == shown


def test_a_legend_of_long_names_stays_inside_the_picture(tmp_path):
    for number in range(4):
        changes = {"schedule.learning_rate": 0.01, "schedule.warmup": 100} if number % 2 else {}
        record(tmp_path, str(number), [1.0], iterations=100 + number // 2, **changes)
    drawing = figure_of(tmp_path, *[layers(10, 20)] * 4)
    [legend] = drawing.figure.legends
    assert max(len(text.get_text()) for text in legend.get_texts()) > 30
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= drawing.figure.bbox.width
