"""A long legend stands beside the plot, and nothing is cut off or warned of."""

import io
import warnings

import pytest

from snip_cli.report.cells import cells
from snip_cli.report.figures.errors import draw_errors
from snip_cli.report.figures.training import draw_trainings
from snip_cli.report.records import read_tree
from tests.report.runs import evaluations, record


def runs(top, count):
    for number in range(count):
        folder = record(top, f"{number:03}", [2.0 + number / 2], sparsity=0.5, **{"method.batch_size": number + 1})
        evaluations(folder, {0: [1.0, 0.5]}, {0: [5.0, 2.0]})


def drawn(draw, top):
    """Draw and save with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(cells(read_tree(top))).figure
        figure.savefig(io.BytesIO(), format="png")
    return figure


@pytest.mark.parametrize("draw", [draw_errors, draw_trainings])
@pytest.mark.parametrize("count", [11, 90])
def test_more_than_ten_entries_stand_beside_the_plot_in_a_figure_that_holds_them(draw, count, tmp_path):
    runs(tmp_path, count)
    figure = drawn(draw, tmp_path)
    [legend] = figure.legends
    assert len(legend.get_texts()) == count
    box = legend.get_window_extent()
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height
    assert max(axes.get_window_extent().x1 for axes in figure.axes) < box.x0 < box.x1 <= figure.bbox.width
    assert all(axes.get_window_extent().width > 200 for axes in figure.axes)


def test_ten_entries_stay_in_the_plot(tmp_path):
    runs(tmp_path, 10)
    figure = drawn(draw_errors, tmp_path)
    assert (figure.legends, figure.axes[0].get_legend() is None) == ([], False)
    assert tuple(figure.get_size_inches()) == (7, 4.5)
