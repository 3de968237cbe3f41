"""The papers' numbers and tables: each is as printed, whole, and beside the runs that are of its cell."""

import csv
import io

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.report.published.snip import PUBLISHED, Published
from snip_cli.report.tables.published import table_named
from tests.report.runs import ADAM, record

BATCH_OF = "method.batch_size"


def numbers(source, *names):
    """The published errors of a table by these settings."""
    found = [number for number in PUBLISHED if number.source == f"{source}, Lee et al. 2019"]
    return {tuple(number.where[name] for name in names): number.error for number in found}


def test_the_published_numbers_are_those_of_table_1():
    methods = ("reference", "lwc", "dns", "lc", "sws", "sparse_vd", "obd", "l_obs")
    lenet_300_100 = [(0.0, 1.7), (0.917, 1.6), (0.982, 2.0), (0.99, 3.2), (0.956, 1.9), (0.985, 1.9), (0.92, 2.0)]
    lenet_300_100 += [(0.985, 2.0), (0.95, 1.6), (0.98, 2.4)]
    lenet_5_caffe = [(0.0, 0.9), (0.917, 0.8), (0.991, 0.9), (0.99, 1.1), (0.995, 1.0), (0.996, 0.8), (0.92, 2.7)]
    lenet_5_caffe += [(0.99, 2.1), (0.98, 0.8), (0.99, 1.1)]
    expected = {
        (model, method, sparsity): error
        for model, printed in (("lenet_300_100", lenet_300_100), ("lenet_5_caffe", lenet_5_caffe))
        for method, (sparsity, error) in zip((*methods, "snip", "snip"), printed, strict=True)
    }
    assert numbers("Table 1", "model", "method", "sparsity") == expected
    own = [number.where["method"] for number in PUBLISHED if "Table 1" in number.source and not number.quoted]
    assert own == ["reference", "snip", "snip"] * 2


def test_the_published_numbers_are_those_of_table_2():
    sparsity = {"alexnet_s": 0.9, "alexnet_b": 0.9, "vgg_like": 0.97}
    printed = [
        *(("alexnet_s", 14.12, 14.99), ("alexnet_b", 13.92, 14.50)),
        *(("vgg_c", 6.82, 7.27), ("vgg_d", 6.76, 7.09), ("vgg_like", 8.26, 8.00)),
        *(("wrn_16_8", 6.21, 6.63), ("wrn_16_10", 5.91, 6.43), ("wrn_22_8", 6.14, 5.85)),
        *(("lstm_s", 1.88, 1.57), ("lstm_b", 1.15, 1.35), ("gru_s", 1.87, 2.41), ("gru_b", 1.71, 1.52)),
    ]
    expected = {}
    for model, reference, pruned in printed:
        expected |= {(model, "reference", 0.0): reference, (model, "snip", sparsity.get(model, 0.95)): pruned}
    assert numbers("Table 2", "model", "method", "sparsity") == expected


def test_the_published_numbers_are_those_of_table_3():
    printed = {
        "rn": ((1.90, 0.09), (0.89, 0.04), (2.93, 0.20), (47.61, 20.49)),
        "tn": ((1.96, 0.11), (0.87, 0.05), (3.03, 0.17), (46.48, 22.25)),
        "vs_x": ((1.91, 0.10), (0.88, 0.07), (1.48, 0.09), (1.80, 0.10)),
        "vs_h": ((1.88, 0.10), (0.85, 0.05), (1.47, 0.08), (1.80, 0.14)),
    }
    models = ("lenet_300_100", "lenet_5_caffe", "lstm_s", "gru_s")
    found = [number for number in PUBLISHED if number.source.startswith("Table 3,")]
    assert [(n.where["init.name"], n.where["model"], (n.error, n.std)) for n in found] == [
        (init, model, cell) for init, row in printed.items() for model, cell in zip(models, row, strict=True)
    ]


def test_the_published_numbers_are_those_of_figure_3():
    errors = {(1,): 1.94, (10,): 1.72, (100,): 1.64, (1000,): 1.56, (10000,): 1.40}
    assert numbers("Figure 3", BATCH_OF) == errors


def shown(top, source, capsys, *more):
    """The table of a published source, of the runs below `top`, as CSV."""
    assert main([str(top), "--table", source, "--format", "csv", *more]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_what_a_run_is_compared_with_hangs_on_its_optimizer_initialiser_and_saliency_batch(tmp_path, capsys):
    record(tmp_path, "sgd", [1.7], sparsity=0.9)
    record(tmp_path, "large", [1.7], sparsity=0.9, **{BATCH_OF: 10000})
    record(tmp_path, "adam", [1.7], sparsity=0.9, **ADAM)
    record(tmp_path, "rn", [1.7], sparsity=0.9, **ADAM, **{"init.name": "rn"})
    record(tmp_path, "neither", [1.7], sparsity=0.9, **{"init.name": "rn", BATCH_OF: 77})
    assert main([str(tmp_path), "--by", "init.name,method.batch_size,schedule.optimizer", "--format", "csv"]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert {(row["init.name"], row[BATCH_OF], row["schedule.optimizer"]): row["published"] for row in rows} == {
        **{("vs_x", "100", "sgd"): "1.64", ("vs_x", "10000", "sgd"): "1.4", ("rn", "77", "sgd"): ""},
        **{("vs_x", "100", "adam"): "1.91", ("rn", "100", "adam"): "1.9"},
    }


def test_the_protocols_of_table_3_and_figure_3_are_those_of_their_scripts(tmp_path, capsys):
    record(tmp_path, "adam", [1.7] * 20, sparsity=0.9, **ADAM)
    record(tmp_path, "batch", [1.7] * 20, sparsity=0.9, **{BATCH_OF: 10})
    by_source = {source: shown(tmp_path, source, capsys) for source in ("Table 3", "Figure 3")}
    assert all(row["deviations"] == "" for rows in by_source.values() for row in rows)
    record(tmp_path, "labels", [1.7] * 20, sparsity=0.9, **{BATCH_OF: 1000, "schedule.weight_decay": 0})
    deviations = {row["deviations"] for row in shown(tmp_path, "Figure 3", capsys)}
    assert deviations == {"", "schedule.weight_decay=0.0"}


def test_inside_the_papers_std_or_by_how_much_outside():
    number = Published(1.90, "", {}, std=0.09)
    assert [number.verdict(mean, None) for mean in (1.99, 1.81, 1.90)] == ["inside"] * 3
    assert (number.verdict(2.05, 0.5), number.verdict(1.70, None)) == ("outside by +0.06", "outside by -0.11")


def test_what_rounding_to_the_printed_decimals_may_hide_is_inside():
    coarse, fine = (Published(1.7, "", {}, decimals=decimals) for decimals in (1, 2))
    assert (coarse.verdict(1.66, 0.01), fine.verdict(1.66, 0.01)) == ("paper inside our ±", "paper outside our ±")
    assert Published(1.90, "", {}, std=0.09).verdict(1.994, None) == "inside"


def test_another_initialisation_or_network_is_not_the_papers():
    [number] = [n for n in PUBLISHED if n.where.get("init.name") == "rn" and n.where["model"] == "gru_s"]
    assert number.deviations({**number.where, **number.protocol, "init.std": 0.02}) == ["init.std=0.02"]
    number = next(n for n in PUBLISHED if n.where["model"] == "lenet_5_caffe" and not n.quoted)
    assert number.deviations({"model.conv_relu": False}) == ["model.conv_relu=False"]


def test_where_the_paper_has_no_std_the_verdict_is_by_ours():
    number = Published(1.6, "", {})
    assert (number.verdict(1.7, 0.2), number.verdict(1.7, 0.05)) == ("paper inside our ±", "paper outside our ±")
    assert number.verdict(1.7, None) == ""


def test_a_published_table_is_whole_and_says_what_was_not_run(tmp_path, capsys):
    record(tmp_path, "a", [2.0, 2.2], sparsity=0.98)
    record(tmp_path, "b", [3.0], sparsity=0.5)
    assert main([str(tmp_path), "--table", "Table 1"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:22]
    assert "2.10 ± 0.14" in lines[9]
    assert sum("not run yet" in line for line in lines) == 5
    assert sum("quoted" in line for line in lines) == 14
    assert all("0.5" not in line for line in lines)


def test_what_differs_from_the_runs_of_other_tables_is_no_column(tmp_path, capsys):
    record(tmp_path, "adam", [1.7], sparsity=0.9, **ADAM)
    record(tmp_path, "sgd", [1.7], sparsity=0.98)
    assert not [name for row in shown(tmp_path, "Table 1", capsys) for name in row if "schedule" in name]


def test_a_published_table_of_which_nothing_was_run_is_shown_too(tmp_path, capsys):
    for source, count in (("Table 2", 24), ("Table 3", 16), ("Figure 3", 5)):
        assert main([str(tmp_path), "--table", source]) == 0
        assert capsys.readouterr().out.count("not run yet") == count


def warned(top, source, capsys):
    assert main([str(top), "--table", source]) == 0
    return capsys.readouterr().err


def test_where_no_run_is_of_the_table_one_sentence_says_what_the_nearest_would_need(tmp_path, capsys):
    record(tmp_path, "far", [1.7], sparsity=0.5, dataset="fashion_mnist", model="vgg_d")
    record(tmp_path, "near", [1.7], sparsity=0.5, dataset="fashion_mnist")
    none = f"none of the 2 runs below {tmp_path} is of"
    need = "so the table shows published numbers only: the nearest, near, would need"
    assert warned(tmp_path, "Table 1", capsys) == f"{none} Table 1, {need} dataset=mnist sparsity=0.95\n"
    assert f"{none} Table 3, {need} dataset=mnist" in warned(tmp_path, "Table 3", capsys)
    assert warned(tmp_path, "SNACS", capsys) == (
        f"{none} a network that the table SNACS lists (vgg16 on cifar10, resnet56 on cifar10, resnet50 on ilsvrc2012), so the table shows published numbers only\n"
    )
    record(tmp_path, "own", [1.7])
    assert warned(tmp_path, "Table 1", capsys) == ""


def test_a_reference_is_asked_for_by_its_sparsity(tmp_path, capsys):
    record(tmp_path, "a", [1.7], method="reference", sparsity=0, dataset="fashion_mnist")
    assert warned(tmp_path, "Table 1", capsys).endswith("would need dataset=mnist\n")


@pytest.mark.parametrize("source", ["Table 1", "Figure 3", "SNACS", "SNACS layers"])
def test_a_folder_without_a_run_is_a_warning_and_one_that_is_not_there_refused(source, tmp_path, capsys):
    assert (
        warned(tmp_path, source, capsys)
        == f"there is no run below {tmp_path}, so the table shows published numbers only\n"
    )
    assert main([str(tmp_path / "rums"), "--table", source]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert (
        f"There is no run below {tmp_path / 'rums'}: name the output_dir of snip-run, or folders of runs." in said.err
    )


def test_a_row_that_was_not_run_says_which_it_is(tmp_path, capsys):
    record(tmp_path, "rn", [1.7], sparsity=0.9, **ADAM, **{"init.name": "rn"})
    rows = shown(tmp_path, "Table 3", capsys)
    assert [row["init.name"] for row in rows] == [init for init in ("rn", "tn", "vs_x", "vs_h") for _ in range(4)]
    assert [row["n"] for row in rows] == ["1"] + ["0"] * 15


def test_table_3_is_laid_out_as_in_the_paper_too(tmp_path, capsys):
    record(tmp_path, "rn", [1.8, 2.0], sparsity=0.9, **ADAM, **{"init.name": "rn"})
    record(tmp_path, "vs_x", [1.8] * 20, sparsity=0.9, model="gru_s", **ADAM)
    assert main([str(tmp_path), "--table", "Table 3", "--format", "markdown"]) == 0
    head, _, rn, _, vs_x, _, empty, *_ = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, rn, vs_x)]
    assert cells[0] == ["init", "lenet_300_100", "lenet_5_caffe", "lstm_s", "gru_s"]
    assert cells[1][:3] == ["rn", "1.90 ± 0.14 (1.90 ± 0.09) *", "- (0.89 ± 0.04)"]
    assert cells[2][-1] == "1.80 ± 0.00 (1.80 ± 0.10)"
    assert empty == ""


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_tables_in_every_form(form, tmp_path, capsys):
    record(tmp_path, "a", [1.7] * 3, sparsity=0.9, **ADAM)
    assert main([str(tmp_path), "--table", "Table 3", "--format", form]) == 0
    said = capsys.readouterr().out
    assert "outside by -0.11" in said
    assert said.count(r"\begin{threeparttable}") == said.count(r"\caption{") == (2 if form == "latex" else 0)


def test_a_table_that_nobody_published_is_refused(tmp_path, capsys):
    record(tmp_path, "a", [2.0])
    assert main([str(tmp_path), "--table", "Table 7"]) == 2
    known = "Figure 3, Table 1, Table 2, Table 3, SNACS, SNACS layers"
    assert f"There is no published table 'Table 7': choose one of {known}." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "name"), [("table 3", "Table 3"), (" TABLE 3", "Table 3"), ("snacs LAYERS", "SNACS layers")]
)
def test_a_tables_name_may_be_written_in_letters_of_either_case(given, name):
    assert table_named(given, ["SNACS", "SNACS layers"]) == name
