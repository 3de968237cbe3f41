"""Run folders → table, figure and curves; nothing is averaged over what is not named."""

import csv
import io

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snip_cli.commands.snip_report import main
from snip_cli.report.cells import cells
from snip_cli.report.figures.errors import write_curves
from snip_cli.report.records import read_tree
from snip_cli.report.tables.errors import as_text, rows
from tests.report.runs import record


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


def test_a_run_that_does_not_follow_the_published_protocol_is_marked(tmp_path, capsys):
    record(tmp_path, "a", [7.2] * 20, iterations=300)
    record(tmp_path, "b", [2.4] * 20, sparsity=0.98)
    main([str(tmp_path)])
    short, full, *_, note = (line for line in capsys.readouterr().out.splitlines()[2:] if line)
    assert "1.6 *" in short
    assert "2.4" in full
    assert "*" not in full
    assert note == "* not the published protocol: schedule.iterations=300"


def test_fewer_seeds_than_the_papers_are_marked(tmp_path, capsys):
    record(tmp_path, "a", [1.6] * 3)
    record(tmp_path, "b", [0.9] * 20, model="lenet_5_caffe", sparsity=0)
    main([str(tmp_path)])
    few, full, *_, note = (line for line in capsys.readouterr().out.splitlines()[2:] if line)
    assert "1.6 *" in few
    assert "*" not in full
    assert note == "* not the published protocol: n=3 of 20"


def test_rows_that_differ_from_the_protocol_in_different_ways_have_a_star_each(tmp_path, capsys):
    record(tmp_path, "a", [7.2] * 20, iterations=300)
    record(tmp_path, "b", [2.4] * 3, sparsity=0.98)
    main([str(tmp_path)])
    short, few, *_, first, second = (line for line in capsys.readouterr().out.splitlines()[2:] if line)
    assert "1.6 *1" in short
    assert "2.4 *2" in few
    assert first == "*1 not the published protocol: schedule.iterations=300"
    assert second == "*2 not the published protocol: n=3 of 20"


def test_a_setting_that_is_at_its_default_deviates_too(tmp_path):
    record(tmp_path, "a", [14.0], model="alexnet_s", dataset="cifar10", sparsity=0.9)
    [row] = table(tmp_path)
    assert row["published"] == 14.99
    assert "dataset.augmentation=none" in row["deviations"]


def test_settings_that_a_run_does_not_have_cannot_deviate(tmp_path):
    record(tmp_path, "a", [1.7] * 20, method="reference", sparsity=0.0)
    [row] = table(tmp_path)
    assert (row["published"], row["deviations"]) == (1.7, "")


def test_an_unfinished_cell_is_a_dash(tmp_path):
    record(tmp_path, "a", [])
    record(tmp_path, "b", [1.0, 2.0], sparsity=0.98, seeds=5)
    lines = as_text(cells(read_tree(tmp_path))).splitlines()
    assert lines[2].split()[4:9] == ["-", "0", "of", "1", "-"]
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


def test_each_note_below_a_table_in_markdown_is_a_paragraph(tmp_path, capsys):
    record(tmp_path, "a", [1.0], iterations=300)
    record(tmp_path, "b", [2.0], **{"schedule.learning_rate": 0.01})
    assert main([str(tmp_path), "--format", "markdown"]) == 0
    first, second = capsys.readouterr().out.strip().split("\n\n")[1:]
    assert first.startswith("*1 not the published protocol: ")
    assert second.startswith("*2 not the published protocol: ")
    assert "schedule.learning_rate=0.01" in first + second


def test_each_note_in_latex_is_inside_the_table(tmp_path, capsys):
    record(tmp_path, "a", [1.0], iterations=300)
    record(tmp_path, "b", [2.0], **{"schedule.learning_rate": 0.01})
    assert main([str(tmp_path), "--format", "latex"]) == 0
    said = capsys.readouterr().out
    first, second = [line for line in said.splitlines() if line.startswith(r"\item")]
    assert first.startswith(r"\item[*1] not the published protocol: ")
    assert second.startswith(r"\item[*2] not the published protocol: ")
    assert r"schedule.learning\_rate=0.01" in first + second
    assert said.strip().endswith(r"\end{table}")


def test_an_error_on_shuffled_labels_is_compared_with_no_published_one(tmp_path):
    record(tmp_path, "a", [1.9], **{"dataset.random_labels": True})
    assert table(tmp_path)[0]["published"] is None


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["nowhere"], "There is no run below nowhere"),
        (["RUNS", "--by", "metod"], "did you mean 'method'"),
        (["RUNS", "--figure", "no/such/folder/error.png"], "cannot be written"),
        (["RUNS", "--figure", "error.docx"], "cannot be written"),
        (["RUNS", "--table", "SNACS", "--figure", "error.png"], "--table 'SNACS' cannot be combined with --figure"),
        (["RUNS", "RUNS", "--limits", "limits.png"], "--limits takes one run, and 2 folders were given"),
        (["RUNS", "nowhere", "nor", "here", "or", "there"], "below nowhere, nor, here and 2 more"),
        (
            ["RUNS", "--limits", "limits.png", "--table", "SNACS", "--masks", "m.png"],
            "--limits cannot be combined with --table, --masks: give",
        ),
    ],
)
def test_bad_input_is_one_sentence(arguments, phrase, tmp_path, capsys):
    record(tmp_path, "a", [1.0])
    assert main([str(tmp_path) if word == "RUNS" else word for word in arguments]) == 2
    said = capsys.readouterr().err
    assert phrase in said
    assert said.count("\n") == 1


def test_some_of_the_runs_of_a_folder_can_be_named(tmp_path, capsys):
    named = [record(tmp_path, "a", [1.0]), record(tmp_path, "b", [2.0], sparsity=0.98)]
    record(tmp_path, "c", [3.0], sparsity=0.99)
    drawn = tmp_path / "error.png"
    assert main([str(named[0]), "--figure", str(drawn), str(named[1])]) == 0
    table = capsys.readouterr().out
    assert "0.95" in table
    assert "0.98" in table
    assert "0.99" not in table
    assert (tmp_path / "figures" / "error").is_dir()


def test_a_picture_that_cannot_be_drawn_keeps_no_other_from_it(tmp_path, capsys):
    record(tmp_path, "a", [1.0])
    drawn = tmp_path / "error.png"
    assert main([str(tmp_path), "--batch-sizes", str(tmp_path / "sizes.png"), "--figure", str(drawn)]) == 2
    assert drawn.exists()
    assert "method.batch_size" in capsys.readouterr().err


def test_pictures_of_several_output_dirs_lie_in_the_first_one(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    record(first, "a", [1.0])
    record(second, "b", [2.0], sparsity=0.98)
    assert main([str(first), str(second), "--figure", str(tmp_path / "error.png")]) == 0
    assert (first / "figures" / "error").is_dir()


def test_a_file_among_the_folders_is_passed_over_but_is_none(tmp_path, capsys):
    folder = record(tmp_path, "a", [1.0])
    assert main([str(folder), str(folder / "metrics.json")]) == 0
    assert main([str(folder / "metrics.json"), "--table", "Table 1"]) == 2
    assert "name the output_dir of snip-run, or folders of runs" in capsys.readouterr().err


def test_a_picture_for_a_folder_that_is_not_there_is_refused_before_the_table(tmp_path, capsys):
    record(tmp_path, "a", [1.0])
    assert main([str(tmp_path), "--figure", "no/such/folder/error.png"]) == 2
    assert capsys.readouterr().out == ""


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


def columns(top, *by):
    return [name for name in table(top, *by)[0] if "." in name]


def test_what_a_choice_brings_with_it_is_no_column_beside_it(tmp_path):
    record(tmp_path, "a", [1.0], **{"init.name": "rn", "init.std": 1.0})
    record(tmp_path, "b", [2.0], **{"init.name": "vs_x"})
    record(tmp_path, "c", [3.0], **{"init.name": "vs_x"}, model="lenet_5_caffe")
    assert columns(tmp_path) == ["init.name"]
    record(tmp_path, "d", [4.0], **{"init.name": "tn", "init.std": 1.0})
    assert columns(tmp_path) == ["init.name"]


def test_what_differs_within_a_choice_is_a_column_beside_it(tmp_path):
    record(tmp_path, "a", [1.0], **{"init.name": "vs_x"})
    record(tmp_path, "b", [2.0], **{"init.name": "rn", "init.std": 1.0})
    record(tmp_path, "c", [3.0], **{"init.name": "rn", "init.std": 0.5}, model="lenet_5_caffe")
    found = {(row["init.name"], row["init.std"]): row["error"] for row in table(tmp_path)}
    assert found == {("vs_x", ""): 1.0, ("rn", 1.0): 2.0, ("rn", 0.5): 3.0}


def test_what_a_column_brings_with_it_is_no_column_either(tmp_path):
    record(tmp_path, "a", [1.0])
    record(tmp_path, "b", [2.0], model="lenet_5_caffe", **{"model.conv_relu": True})
    assert columns(tmp_path, "method", "sparsity") == []
    assert {row["model"] for row in table(tmp_path, "method", "sparsity")} == {"lenet_300_100", "lenet_5_caffe"}
    record(tmp_path, "c", [3.0], model="lenet_5_caffe", **{"model.conv_relu": False})
    assert columns(tmp_path, "method", "sparsity") == ["model.conv_relu"]


def test_data_sets_come_as_in_the_paper_and_then_others_by_name(tmp_path):
    for name in ("fashion_mnist", "digits", "blobs", "cifar10", "mnist"):
        record(tmp_path, name, [1.0], dataset=name)
    assert [row["dataset"] for row in table(tmp_path)] == ["mnist", "fashion_mnist", "cifar10", "blobs", "digits"]


def test_curves_leave_other_files_alone(tmp_path):
    record(tmp_path, "a", [3.0], sparsity=0.9)
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "notes.txt").write_text("mine")
    write_curves(tmp_path)
    assert (tmp_path / "curves" / "notes.txt").read_text() == "mine"


def test_curves_that_differ_in_many_settings_have_names_that_fit_and_differ(tmp_path):
    many = {f"model.a_long_name_of_an_option_{number}": "größe" for number in range(20)}
    record(tmp_path, "a", [1.0], sparsity=0.9)
    record(tmp_path, "b", [2.0], sparsity=0.9, **many)
    record(tmp_path, "c", [3.0], sparsity=0.9, **many | {"model.a_long_name_of_an_option_19": "x"})
    folders = write_curves(tmp_path)
    assert sorted(points(folder)[9000] for folder in folders) == [1.0, 2.0, 3.0]
    assert len(set(folders)) == 3
    names = [folder.name for folder in folders]
    assert max(len(name.encode()) for name in names) in range(195, 201)
    assert [folder.name for folder in write_curves(tmp_path)] == names


def test_a_curve_that_cannot_be_written_keeps_no_other_from_it(tmp_path, caplog):
    record(tmp_path, "a", [1.0], sparsity=0.9, method="random")
    record(tmp_path, "b", [2.0], sparsity=0.9)
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "random-lenet_300_100-mnist").write_text("a file in the place of a folder")
    [folder] = write_curves(tmp_path)
    assert points(folder) == {9000: 2.0}
    assert "random-lenet_300_100-mnist" in caplog.text


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


def test_curves_are_written_again(tmp_path):
    record(tmp_path, "a", [3.0], sparsity=0.9)
    write_curves(tmp_path)
    record(tmp_path, "b", [4.0], sparsity=0.95)
    [folder] = write_curves(tmp_path)
    assert points(folder) == {9000: 3.0, 9500: 4.0}
    assert len(list(folder.iterdir())) == 1
