"""Errors in rows and columns: what stands where, what is bold, and what the caption says."""

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.errors import ConfigError
from snip_cli.report.cells import cells
from snip_cli.report.records import COLUMNS, read_tree
from snip_cli.report.tables.pivot import as_pivot, axes_of, pivot
from tests.report.runs import ADAM, record


def made(top, given="method:sparsity"):
    records = read_tree(top)
    axes = axes_of(given, records)
    return pivot(cells(records, list(dict.fromkeys([*COLUMNS, *axes]))), *axes)


def table(top, given="method:sparsity"):
    return texts_in(as_pivot(made(top, given), "github"))


def texts_in(markdown):
    """The rows of a table in Markdown, as lists of texts, the headings first."""
    lines = markdown.split("\n\n")[0].splitlines()
    return [[text.strip() for text in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def three_methods(top):
    record(top, "ref", [1.4, 1.6], sparsity=0.0)
    for method, errors in {
        "snip": ([2.0, 3.0], [5.0]),
        "random": ([2.0, 2.0], [9.0]),
        "erk": ([4.0, 4.0], [5.0]),
    }.items():
        for sparsity, of_both in zip((0.9, 0.99), errors, strict=True):
            record(top, f"{method}{sparsity}", of_both, method=method, sparsity=sparsity, seeds=2)


def test_methods_are_rows_and_sparsities_columns_and_the_best_are_bold(tmp_path):
    three_methods(tmp_path)
    assert table(tmp_path) == [
        ["method", "sparsity 0", "sparsity 0.9", "sparsity 0.99"],
        ["reference", "1.50 ± 0.14", "", ""],
        ["erk", "", "4.00 ± 0.00", "**5.00 (1 of 2)**"],
        ["random", "", "**2.00 ± 0.00**", "9.00 (1 of 2)"],
        ["snip", "", "2.50 ± 0.71", "**5.00 (1 of 2)**"],
    ]


def test_with_methods_as_columns_the_best_of_a_row_is_bold(tmp_path):
    three_methods(tmp_path)
    heads, _, *pruned = table(tmp_path, "sparsity:method")
    assert heads == ["sparsity", "reference", "erk", "random", "snip"]
    assert pruned[0] == ["0.9", "", "4.00 ± 0.00", "**2.00 ± 0.00**", "2.50 ± 0.71"]


def test_errors_of_different_networks_are_not_compared(tmp_path):
    record(tmp_path, "a", [2.0])
    record(tmp_path, "b", [1.0], model="lenet_5_caffe")
    assert made(tmp_path, "model:sparsity").best == frozenset()
    assert made(tmp_path, "method:sparsity").best == frozenset()


def test_nothing_is_averaged_over_a_setting_that_is_not_named(tmp_path):
    record(tmp_path, "a", [2.0])
    record(tmp_path, "b", [3.0], **{"schedule.momentum": 0.5})
    heads, *rows = table(tmp_path)
    assert heads == ["method", "momentum", "sparsity 0.95"]
    assert rows == [["snip", "0.5", "3.00"], ["snip", "0.9", "**2.00**"]]


def test_a_reference_that_would_share_a_place_gets_a_row_of_its_own(tmp_path):
    record(tmp_path, "ref", [1.0], sparsity=0.0)
    record(tmp_path, "snip", [2.0])
    rows = table(tmp_path, "init.name:model")[1:]
    assert sorted(row[-1] for row in rows) == ["1.00", "2.00"]


def test_what_all_have_in_common_is_in_the_caption(tmp_path):
    three_methods(tmp_path)
    caption = made(tmp_path).caption
    assert "lenet_300_100, mnist, " in caption and "n = 1 to 2" in caption and "lowest mean of a column" in caption


def test_methods_with_schedules_of_their_own_are_rows_without_them_in_the_order_of_their_names(tmp_path, capsys):
    def rows():
        assert main([str(tmp_path), "--pivot", "method:sparsity", "--own-schedules", "--format", "markdown"]) == 0
        return texts_in(capsys.readouterr().out)[1:]

    record(tmp_path, "ref", [1.5], sparsity=0.0)
    record(tmp_path, "snip", [2.0], sparsity=0.9)
    record(tmp_path, "dns", [1.9], sparsity=0.9, method="dns", iterations=125_000, **{"schedule.learning_rate": 0.01})
    assert len(table(tmp_path)[0]) > 3
    pruned = [["dns", "", "**1.90**"], ["snip", "", "2.00"]]
    assert rows() == [["reference", "1.50", ""], *pruned]
    record(tmp_path, "adam", [1.4], sparsity=0.0, **ADAM)
    assert rows() == [["reference, optimizer adam", "**1.40**", ""], ["reference, optimizer sgd", "1.50", ""], *pruned]


def test_schedules_of_their_own_are_for_tables_and_figures_that_name_them(tmp_path, capsys):
    record(tmp_path, "a", [2.0])
    assert main([str(tmp_path), "--own-schedules"]) == 2
    assert "--own-schedules is for --pivot, --figure and --costs" in capsys.readouterr().err


def test_the_columns_of_numbers_rise_and_words_keep_the_reference_first(tmp_path):
    for size in (1000, 10, 100):
        record(tmp_path, f"{size}", [2.0], **{"method.batch_size": size})
    assert table(tmp_path, "method:method.batch_size")[0][1:] == [f"saliency batch {size}" for size in (10, 100, 1000)]


@pytest.mark.parametrize("given", ["method", "method:", "method:method", "a:b:c", ""])
def test_anything_but_two_settings_is_refused(tmp_path, given):
    record(tmp_path, "a", [2.0])
    with pytest.raises(ConfigError, match="--pivot"):
        axes_of(given, read_tree(tmp_path))


def test_a_setting_that_no_run_has_is_refused_with_the_nearest(tmp_path):
    record(tmp_path, "a", [2.0])
    with pytest.raises(ConfigError, match="did you mean 'sparsity'"):
        axes_of("method:sparsit", read_tree(tmp_path))


def test_csv_and_further_columns_do_not_go_with_it(tmp_path, capsys):
    record(tmp_path, "a", [2.0])
    for more in (["--format", "csv"], ["--columns", "cost"]):
        assert main([str(tmp_path), "--pivot", "method:sparsity", *more]) == 2
    assert "leave out" in capsys.readouterr().err


def test_without_a_finished_run_the_command_says_so(tmp_path, capsys):
    record(tmp_path, "a", [])
    assert main([str(tmp_path), "--pivot", "method:sparsity"]) == 2
    assert "no run is finished" in capsys.readouterr().err


def test_in_latex_the_best_are_bold_below_a_heading_over_the_columns(tmp_path):
    three_methods(tmp_path)
    text = as_pivot(made(tmp_path), "latex_booktabs")
    assert r"& \multicolumn{3}{c}{sparsity} \\" in text and r"\cmidrule(l){2-4}" in text
    assert r"random &  & \textbf{2.00 $\pm$ 0.00} & 9.00 (1 of 2) \\" in text
    assert "lenet\\_300\\_100, mnist" in text
