"""Error against the iterations of training that it took."""

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.errors import ConfigError
from snip_cli.report.cells import cells, with_own_schedules
from snip_cli.report.figures.axes import Look
from snip_cli.report.figures.costs import draw_costs, side_by_side
from snip_cli.report.figures.errors import draw_errors
from snip_cli.report.records import read_tree
from tests.report.pictures import drawn
from tests.report.runs import record, with_costs
from tests.report.tables.test_columns import COST


def three_methods(top):
    """A reference, two methods at two sparsities, one of them in rounds, and a third on a schedule of its own."""
    with_costs(record(top, "ref", [1.4, 1.6], sparsity=0.0), *[cost_of(0, 0, 100_000)] * 2)
    for sparsity, errors in ((0.9, [1.8, 2.2]), (0.99, [5.0, 5.5])):
        with_costs(record(top, f"snip{sparsity}", errors, sparsity=sparsity), *[cost_of(0, 0, 100_000)] * 2)
        lwc = record(top, f"lwc{sparsity}", [1.5, 1.7], sparsity=sparsity, method="lwc")
        with_costs(lwc, *[cost_of(100_000, 300_000, 100_000)] * 2)
    dns = record(top, "dns", [1.9], method="dns", sparsity=0.9, iterations=25_000, **{"schedule.learning_rate": 0.01})
    with_costs(dns, cost_of(100_000, 25_000, 0))


def cost_of(before, during, after):
    return {**COST, "iterations_before": before, "iterations_during": during, "iterations_after": after}


def figure_of(top, **look):
    figure = draw_costs(with_own_schedules(cells(read_tree(top))), Look(**look)).figure
    figure.canvas.draw()
    return figure


def points(axes):
    """By label the iterations and errors of a panel's points."""
    handles, labels = axes.get_legend_handles_labels()
    return {
        label: tuple(float(value) for [value] in handle.lines[0].get_data())
        for handle, label in zip(handles, labels, strict=True)
        if not label.startswith("reference")
    }


def test_a_point_is_the_mean_error_at_all_iterations_and_a_panel_a_sparsity(tmp_path):
    three_methods(tmp_path)
    low, high = figure_of(tmp_path).axes
    assert [axes.get_title() for axes in (low, high)] == ["sparsity 0.9", "sparsity 0.99"]
    assert points(low) == {"snip": (100_000, 2.0), "lwc": (500_000, pytest.approx(1.6)), "dns": (125_000, 1.9)}
    assert points(high) == {"snip": (100_000, 5.25), "lwc": (500_000, pytest.approx(1.6))}
    [reference] = [line for line in high.get_lines() if str(line.get_label()) == "reference"]
    assert set(reference.get_ydata()) == {1.5}


def test_equal_iterations_stand_side_by_side_around_their_place():
    places = side_by_side([100, 500, 100, 100, 500])
    assert places == pytest.approx([100 / 1.04, 500 / 1.04**0.5, 100, 104, 500 * 1.04**0.5])


def test_a_panel_reaches_down_to_the_reference_and_a_row_ends_with_the_last_panel(tmp_path):
    with_costs(record(tmp_path, "ref", [1.5], sparsity=0.0), cost_of(0, 0, 100_000))
    for sparsity in (0.9, 0.95, 0.98, 0.99):
        with_costs(record(tmp_path, f"{sparsity}", [30.0], sparsity=sparsity), cost_of(0, 0, 100_000))
    panels = figure_of(tmp_path, log=True).axes
    assert len(panels) == 4
    assert all(axes.get_ylim()[0] < 1.5 for axes in panels)


def test_the_numbers_lie_beside_the_picture(tmp_path):
    three_methods(tmp_path)
    found = {(row["method"], row["sparsity"]): row for row in drawn(tmp_path, "--costs")}
    assert float(found["lwc", "0.99"]["iterations"]) == 500_000
    assert (found["snip", "0.9"]["iterations_after"], float(found["snip", "0.9"]["error"])) == ("100000", 2.0)
    assert len(found) == 5


def test_a_method_has_the_colour_that_it_has_in_the_figure_of_error_against_sparsity(tmp_path):
    three_methods(tmp_path)
    [axes] = draw_errors(with_own_schedules(cells(read_tree(tmp_path)))).figure.axes
    lines = {str(line.get_label()).partition(" (")[0]: line.get_color() for line in axes.get_lines()}
    handles, labels = figure_of(tmp_path).axes[0].get_legend_handles_labels()
    colours = {
        label: handle.lines[0].get_color()
        for handle, label in zip(handles, labels, strict=True)
        if label in "snip lwc dns"
    }
    assert len(colours) == 3 and colours == {label: lines[label] for label in colours}


def test_where_schedules_are_compared_a_method_is_named_with_its_own(tmp_path):
    three_methods(tmp_path)
    low, _ = draw_costs(cells(read_tree(tmp_path))).figure.axes
    assert "dns, learning rate 0.01" in points(low)


def test_a_seed_that_learned_nothing_is_above_the_axis(tmp_path):
    three_methods(tmp_path)
    with_costs(record(tmp_path, "dead", [88.6], method="random", sparsity=0.9), cost_of(0, 0, 100_000))
    [above] = figure_of(tmp_path).axes[0].texts
    assert above.get_text() == "▲ 88.60" and above.xy[0] == pytest.approx(100_000, rel=0.03)


def test_the_axis_of_errors_is_logarithmic_on_request(tmp_path):
    three_methods(tmp_path)
    assert {axes.get_yscale() for axes in figure_of(tmp_path, log=True).axes} == {"log"}
    assert main([str(tmp_path), "--costs", str(tmp_path / "c.png"), "--log", "--own-schedules"]) == 0


@pytest.mark.parametrize("option", ["--logit", "--bars"])
def test_what_is_for_the_other_figure_is_refused(option, tmp_path, capsys):
    three_methods(tmp_path)
    assert main([str(tmp_path), "--costs", str(tmp_path / "c.png"), option]) == 2
    assert "name the picture's file" in capsys.readouterr().err


def test_without_a_cost_there_is_nothing_to_draw(tmp_path):
    record(tmp_path, "old", [1.5])
    with_costs(record(tmp_path, "outside", [1.6], sparsity=0.9), {**COST, "iterations_before": None})
    with_costs(record(tmp_path, "ref", [1.6], sparsity=0.0), COST)
    with pytest.raises(ConfigError, match="no pruned run here is finished and has a cost"):
        figure_of(tmp_path)
