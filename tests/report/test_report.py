"""Run folders → table, figure and curves; nothing is averaged over what is not named."""

import csv
import io
import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snip_cli.report.cli import main
from snip_cli.report.curves import write_curves
from snip_cli.report.published import PUBLISHED
from snip_cli.report.records import read_tree
from snip_cli.report.table import as_text, cells, rows

SETTINGS = """\
dataset: {{name: mnist, root: data, shape: [1, 28, 28], classes: 10, split_seed: 9}}
model: {{name: {model}}}
method: {{name: {method}, redraw: true}}
init: {{name: vs_x}}
init_train: {{name: vs_x}}
schedule: {{name: lenet, iterations: {iterations}, batch_size: 100, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0005,
  milestones: [25000, 50000, 75000], decay: 0.1, evaluate_every: 1000, checkpoint_every: 1000}}
sparsity: {sparsity}
seed: {seed}
seeds: {seeds}
device: auto
dtype: float32
output_dir: runs
dry_run: false
"""


def record(
    top, name, errors, *, method="snip", model="lenet_300_100", sparsity=0.95, seed=0, seeds=None, iterations=100000
):
    """A run folder with these test errors, one a seed; unfinished where there are none."""
    folder = top / name
    folder.mkdir(parents=True)
    settings = {"method": method, "model": model, "sparsity": sparsity, "seed": seed, "iterations": iterations}
    (folder / "config.yaml").write_text(SETTINGS.format(**settings, seeds=seeds or max(len(errors), 1)))
    if errors:
        results = [{"seed": seed + i, "test_error": e, "test_error_best": e - 0.1} for i, e in enumerate(errors)]
        (folder / "metrics.json").write_text(json.dumps({"seeds": results}))


def table(top, *by):
    found = cells(read_tree(top), by) if by else cells(read_tree(top))
    return rows(found)


def test_seeds_become_mean_and_sample_standard_deviation(tmp_path):
    record(tmp_path, "a", [1.0, 2.0, 3.0])
    [row] = table(tmp_path)
    assert (row["n"], row["error"], row["std"]) == (3, 2.0, 1.0)
    assert row["best_of_last_5"] == pytest.approx(1.9)


def test_one_seed_has_no_standard_deviation(tmp_path):
    record(tmp_path, "a", [1.0])
    assert table(tmp_path)[0]["std"] is None


def test_folders_that_differ_in_the_first_seed_are_one_cell_and_a_seed_counts_once(tmp_path):
    record(tmp_path, "a", [1.0, 2.0], seed=0)
    record(tmp_path, "b", [2.0, 3.0], seed=1)
    [row] = table(tmp_path)
    assert (row["n"], row["error"]) == (3, 2.0)


def test_what_differs_is_named_and_not_averaged_over(tmp_path):
    record(tmp_path, "a", [1.0])
    record(tmp_path, "b", [3.0], iterations=2000)
    found = table(tmp_path)
    assert [(row["schedule.iterations"], row["error"]) for row in found] == [(2000, 3.0), (100000, 1.0)]


def test_by_never_hides_a_setting(tmp_path):
    record(tmp_path, "a", [1.0])
    record(tmp_path, "b", [3.0], model="lenet_5_caffe")
    found = table(tmp_path, "method", "sparsity")
    assert {(row["model"], row["error"]) for row in found} == {("lenet_300_100", 1.0), ("lenet_5_caffe", 3.0)}


def test_the_published_number_and_the_difference_stand_beside_ours(tmp_path):
    record(tmp_path, "a", [1.9], sparsity=0.95)
    record(tmp_path, "b", [1.9], sparsity=0.5)
    by_sparsity = {row["sparsity"]: row for row in table(tmp_path)}
    assert by_sparsity[0.95]["published"] == 1.6
    assert by_sparsity[0.95]["difference"] == pytest.approx(0.3)
    assert by_sparsity[0.5]["published"] is None


def test_the_published_numbers_are_those_of_table_1():
    errors = {(key[1], key[3]): value.error for key, value in PUBLISHED.items() if value.source.startswith("Table 1,")}
    assert errors == {
        **{("lenet_300_100", 0.0): 1.7, ("lenet_300_100", 0.95): 1.6, ("lenet_300_100", 0.98): 2.4},
        **{("lenet_5_caffe", 0.0): 0.9, ("lenet_5_caffe", 0.98): 0.8, ("lenet_5_caffe", 0.99): 1.1},
    }


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
        expected |= {(model, 0.0): reference, (model, sparsity.get(model, 0.95)): pruned}
    found = {key: value for key, value in PUBLISHED.items() if value.source.startswith("Table 2,")}
    assert {(key[1], key[3]): value.error for key, value in found.items()} == expected
    assert all(key[0] == ("snip" if key[3] else "reference") for key in found)


def test_a_published_table_is_whole_and_says_what_was_not_run(tmp_path, capsys):
    record(tmp_path, "a", [2.0, 2.2], sparsity=0.98)
    record(tmp_path, "b", [3.0], sparsity=0.5)
    assert main([str(tmp_path), "--table", "Table 1"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == 6
    assert "2.10 ± 0.14" in lines[2]
    assert all("not run yet" in line for number, line in enumerate(lines) if number != 2)
    assert all("0.5" not in line for line in lines)


def test_a_published_table_of_which_nothing_was_run_is_shown_too(tmp_path, capsys):
    assert main([str(tmp_path), "--table", "Table 2"]) == 0
    assert capsys.readouterr().out.count("not run yet") == 24


def test_a_table_that_nobody_published_is_refused(tmp_path, capsys):
    record(tmp_path, "a", [2.0])
    assert main([str(tmp_path), "--table", "Table 7"]) == 2
    assert (
        "No published table is called 'Table 7': choose one of Table 1, Table 2, SNACS, SNACS layers."
        in capsys.readouterr().err
    )


def test_a_run_that_does_not_follow_the_published_protocol_is_marked(tmp_path, capsys):
    record(tmp_path, "a", [7.2], iterations=300)
    record(tmp_path, "b", [2.4], sparsity=0.98)
    main([str(tmp_path)])
    short, full, *_, note = (line for line in capsys.readouterr().out.splitlines()[2:] if line)
    assert "1.6 *" in short
    assert "2.4" in full
    assert "*" not in full
    assert note == "* not the published protocol: schedule.iterations=300"


def test_a_setting_that_is_at_its_default_deviates_too(tmp_path):
    record(tmp_path, "a", [14.0], model="alexnet_s", sparsity=0.9)
    config = (tmp_path / "a" / "config.yaml").read_text()
    (tmp_path / "a" / "config.yaml").write_text(config.replace("{name: mnist", "{name: cifar10"))
    [row] = table(tmp_path)
    assert row["published"] == 14.99
    assert "dataset.augmentation=none" in row["deviations"]


def test_settings_that_a_run_does_not_have_cannot_deviate(tmp_path):
    record(tmp_path, "a", [1.7], method="reference", sparsity=0.0)
    [row] = table(tmp_path)
    assert (row["published"], row["deviations"]) == (1.7, "")


def test_an_unfinished_cell_is_a_dash(tmp_path):
    record(tmp_path, "a", [])
    record(tmp_path, "b", [1.0, 2.0], sparsity=0.98, seeds=5)
    lines = as_text(cells(read_tree(tmp_path))).splitlines()
    assert lines[2].split()[4:8] == ["0", "of", "1", "-"]
    assert "2 of 5" in lines[3]


def test_csv_holds_the_numbers_in_full(tmp_path, capsys):
    record(tmp_path, "a", [1.0, 1.5])
    assert main([str(tmp_path), "--format", "csv"]) == 0
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (float(row["error"]), float(row["std"]), row["n"]) == (1.25, pytest.approx(0.5**1.5), "2")


@pytest.mark.parametrize("style, sign", [("markdown", "|"), ("latex", r"\toprule"), ("text", "---")])
def test_formats(style, sign, tmp_path, capsys):
    record(tmp_path, "a", [1.0])
    assert main([str(tmp_path), "--format", style]) == 0
    said = capsys.readouterr().out
    assert sign in said
    assert "0.95" in said


def test_the_figure_is_a_picture(tmp_path):
    record(tmp_path, "a", [1.4, 1.5], method="snip", sparsity=0)
    record(tmp_path, "b", [1.9, 2.2])
    assert main([str(tmp_path), "--figure", str(tmp_path / "error.png")]) == 0
    assert (tmp_path / "error.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["nowhere"], "There is no run below nowhere"),
        (["RUNS", "--by", "metod"], "did you mean 'method'"),
        (["RUNS", "--figure", "no/such/folder/error.png"], "cannot be written"),
        (["RUNS", "--figure", "error.docx"], "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence(arguments, phrase, tmp_path, capsys):
    record(tmp_path, "a", [1.0])
    assert main([str(tmp_path) if word == "RUNS" else word for word in arguments]) == 2
    said = capsys.readouterr().err
    assert phrase in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("damage", ["metrics.json", "config.yaml"])
def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_reported(damage, tmp_path, capsys):
    record(tmp_path, "good", [1.0])
    record(tmp_path, "bad", [2.0], sparsity=0.98)
    (tmp_path / "bad" / damage).write_text("{")
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert f"left out: {tmp_path / 'bad' / damage}" in said.err
    assert "0.95" in said.out
    assert "0.98" not in said.out


def test_what_differs_along_a_line_is_named(tmp_path):
    record(tmp_path, "reference", [1.0], sparsity=0, method="snip")
    record(tmp_path, "a", [2.0], sparsity=0.9)
    record(tmp_path, "b", [3.0], sparsity=0.95, iterations=300)
    assert all("schedule.iterations" in row for row in table(tmp_path))
    folders = write_curves(tmp_path)
    found = {folder.name.rpartition("=")[2]: points(folder) for folder in folders}
    assert found == {"100000": {0: 1.0, 9000: 2.0}, "300": {9500: 3.0}}


def test_what_differs_between_methods_is_named_but_not_their_own_options(tmp_path):
    record(tmp_path, "a", [2.0], method="snip")
    record(tmp_path, "b", [3.0], method="random", iterations=300)
    assert [name for name in table(tmp_path)[0] if "." in name] == ["schedule.iterations"]


def test_curves_leave_other_files_alone(tmp_path):
    record(tmp_path, "a", [3.0], sparsity=0.9)
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "notes.txt").write_text("mine")
    write_curves(tmp_path)
    assert (tmp_path / "curves" / "notes.txt").read_text() == "mine"


def points(folder):
    events = EventAccumulator(str(folder)).Reload()
    return {event.step: event.value for event in events.Scalars("error_against_sparsity")}


def test_every_method_has_a_curve_that_starts_at_the_reference(tmp_path):
    record(tmp_path, "reference", [1.0, 2.0], sparsity=0)
    record(tmp_path, "a", [3.0], sparsity=0.9)
    record(tmp_path, "b", [4.0], sparsity=0.985)
    record(tmp_path, "c", [5.0], sparsity=0.9, method="random")
    folders = write_curves(tmp_path)
    assert [folder.name for folder in folders] == ["random-lenet_300_100-mnist", "snip-lenet_300_100-mnist"]
    assert points(folders[0]) == {0: 1.5, 9000: 5.0}
    assert points(folders[1]) == {0: 1.5, 9000: 3.0, 9850: 4.0}


def test_a_curve_starts_at_the_reference_of_its_own_schedule_only(tmp_path):
    record(tmp_path, "reference", [1.0], sparsity=0)
    record(tmp_path, "a", [3.0], sparsity=0.9, iterations=500)
    [folder] = write_curves(tmp_path)
    assert points(folder) == {9000: 3.0}


def test_curves_are_written_anew(tmp_path):
    record(tmp_path, "a", [3.0], sparsity=0.9)
    write_curves(tmp_path)
    record(tmp_path, "b", [4.0], sparsity=0.95)
    [folder] = write_curves(tmp_path)
    assert points(folder) == {9000: 3.0, 9500: 4.0}
    assert len(list(folder.iterdir())) == 1
