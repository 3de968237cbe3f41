"""The effective sparsity in a table, and the marks of networks that are cut through and of seeds that learned nothing."""

import csv
import io
import json

from snip_cli.commands.snip_report import main
from tests.report.runs import ADAM, record

LAYERS = [{"name": "fc1", "total": 800, "kept": 60}, {"name": "fc2", "total": 200, "kept": 20}]


def add_paths(folder, *seeds):
    """What the seeds of a run tell of their paths: (effective_kept, collapsed)."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for result, (kept, collapsed) in zip(metrics["seeds"], seeds, strict=True):
        result |= {"layers": LAYERS, "effective_kept": kept, "collapsed": collapsed}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def add_learned(folder, *learned):
    """Whether each seed of a run learned anything."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for result, known in zip(metrics["seeds"], learned, strict=True):
        result["learned"] = known
    (folder / "metrics.json").write_text(json.dumps(metrics))


def shown(capsys, *arguments):
    assert main(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


def test_it_stands_beside_the_sparsity_as_the_mean_over_seeds(tmp_path, capsys):
    record(tmp_path, "a", [1.0, 2.0], sparsity=0.92)
    add_paths(tmp_path / "a", (50, []), (55, []))
    header, _, row = shown(capsys, str(tmp_path))
    assert header.split()[3:6] == ["sparsity", "effective", "n"]
    assert row.split()[3:6] == ["0.92", "0.9475", "2"]
    [row] = csv.DictReader(io.StringIO("\n".join(shown(capsys, str(tmp_path), "--format", "csv"))))
    assert list(row)[3:6] == ["sparsity", "reached", "effective"]
    assert float(row["effective"]) == 1 - 0.0525


def test_it_follows_the_sparsity_that_was_reached(tmp_path, capsys):
    record(tmp_path, "a", [1.0], sparsity=0.96)
    add_paths(tmp_path / "a", (50, []))
    header, _, row = shown(capsys, str(tmp_path))
    assert header.split()[3:6] == ["sparsity", "reached", "effective"]
    assert row.split()[3:6] == ["0.96", "0.9200", "0.9500"]


def test_what_was_reached_is_shown_as_it_is_also_where_rounding_alone_parts_it_from_what_was_asked(tmp_path, capsys):
    record(tmp_path, "a", [1.0], sparsity=0.9203)
    record(tmp_path, "b", [1.0], sparsity=0.96)
    for name in "ab":
        add_paths(tmp_path / name, (50, []))
    _, _, nearly, _ = shown(capsys, str(tmp_path))
    assert nearly.split()[3:5] == ["0.9203", "0.9200"]


def test_where_it_is_not_known_there_is_a_dash(tmp_path, capsys):
    record(tmp_path, "old", [1.0], sparsity=0.91)
    record(tmp_path, "untraceable", [1.0], sparsity=0.92)
    add_paths(tmp_path / "untraceable", (None, []))
    _, _, *rows = shown(capsys, str(tmp_path))
    assert [row.split()[4] for row in rows] == ["-", "-"]
    table = csv.DictReader(io.StringIO("\n".join(shown(capsys, str(tmp_path), "--format", "csv"))))
    assert [row["effective"] for row in table] == ["", ""]


def test_errors_of_networks_that_are_cut_are_marked_and_one_line_says_why(tmp_path, capsys):
    record(tmp_path, "whole", [1.0], sparsity=0.5)
    record(tmp_path, "cut", [88.0, 20.0, 2.0], sparsity=0.92)
    add_paths(tmp_path / "cut", (0, ["fc1", "fc2"]), (30, ["fc2"]), (55, []))
    *rows, _, line = shown(capsys, str(tmp_path))
    assert ["†" in row for row in rows[2:]] == [False, True]
    assert "36.67 ± 45.36 †" in rows[3]
    assert line == (
        "† cut through: in 1 of these rows' 3 seeds nothing connects input and output (seed 0 of sparsity 0.92); cut off: in 1 of these rows' 3 seeds no path leads through fc2"
    )


def test_many_layers_are_not_all_named(tmp_path, capsys):
    record(tmp_path, "a", [20.0], sparsity=0.92)
    add_paths(tmp_path / "a", (30, [f"conv{i}" for i in range(1, 10)]))
    line = shown(capsys, str(tmp_path))[-1]
    assert line.startswith("† cut off: in 1 of these rows' 1 seeds no path leads through conv1, conv2")
    assert line.endswith("conv6 and 3 more")


def test_layers_that_lost_everything_are_named_where_the_paths_are_not_known(tmp_path, capsys):
    record(tmp_path, "a", [20.0], sparsity=0.92)
    add_paths(tmp_path / "a", (None, ["fc2"]))
    assert shown(capsys, str(tmp_path))[-1] == "† cut off: in 1 of these rows' 1 seeds no path leads through fc2"


def test_both_notes_stand_below_the_table(tmp_path, capsys):
    record(tmp_path, "a", [88.0], sparsity=0.95, iterations=300)
    add_paths(tmp_path / "a", (0, ["fc1", "fc2"]))
    *_, star, _, dagger = shown(capsys, str(tmp_path))
    assert star.startswith("* not the published protocol")
    assert dagger.startswith("† cut through")


GUESSING = "seeds the training loss stayed that of guessing"
REMEDY = "and the errors count all the same; try schedule.warmup=100"


def test_errors_of_seeds_that_learned_nothing_are_marked_and_one_line_says_how_many(tmp_path, capsys):
    record(tmp_path, "old", [1.0], sparsity=0.5)
    add_learned(record(tmp_path, "well", [1.0, 2.0], sparsity=0.6), True, None)
    add_learned(record(tmp_path, "dead", [1.0, 88.65, 1.0], sparsity=0.7), True, False, True)
    *rows, _, line = shown(capsys, str(tmp_path))
    assert ["‡" in row for row in rows[2:]] == [False, False, True]
    assert "30.22 ± 50.60 ‡" in rows[4]
    assert line == f"‡ learned nothing: in 1 of these rows' 3 {GUESSING} (seed 1 of sparsity 0.7), {REMEDY}"
    assert "of seeds that learned (%)" in rows[0]
    assert rows[4].split("‡")[1].split()[:3] == ["1.00", "±", "0.00"]


def test_a_network_that_is_cut_through_is_not_said_to_want_another_start(tmp_path, capsys):
    folder = record(tmp_path, "a", [88.0, 88.0], sparsity=0.92)
    add_paths(folder, (0, ["fc1", "fc2"]), (55, []))
    add_learned(folder, False, True)
    *_, row, _, line = shown(capsys, str(tmp_path))
    assert ("†" in row, "‡" in row, line.startswith("† cut through")) == (True, False, True)
    add_learned(folder, False, False)
    *_, row, _, cut, _, dead = shown(capsys, str(tmp_path))
    assert "88.00 ± 0.00 † ‡" in row
    assert (cut[0], dead) == ("†", f"‡ learned nothing: in 1 of these rows' 2 {GUESSING} (seed 1), {REMEDY}")


def test_table_3_as_it_is_printed_has_the_marks_too(tmp_path, capsys):
    add_learned(record(tmp_path, "a", [88.65], sparsity=0.9, **ADAM), False)
    said = shown(capsys, str(tmp_path), "--table", "Table 3")
    assert sum("‡" in line for line in said) == 3
    assert any("88.65 (1.91 ± 0.10) * ‡" in line for line in said)


def test_a_training_shorter_than_its_schedule_is_said_below_the_table_in_every_format(tmp_path, capsys):
    own = {"dataset": "digits", "schedule.name": "quick"}
    for sparsity in (0.5, 0.9):
        record(tmp_path, f"{sparsity}", [2.0], sparsity=sparsity, iterations=200, **own)
    note = "short: 200 of the 300 iterations of schedule=quick"
    assert shown(capsys, str(tmp_path))[-1] == note
    assert shown(capsys, str(tmp_path), "--format", "markdown")[-1] == note
    assert rf"\item {note}" in shown(capsys, str(tmp_path), "--format", "latex")
    assert shown(capsys, str(tmp_path), "--pivot", "method:sparsity")[-1] == note
    assert main([str(tmp_path), "--html", str(tmp_path / "page.html")]) == 0
    assert f">{note}<" in (tmp_path / "page.html").read_text()


def test_where_some_trainings_are_short_the_line_says_how_many(tmp_path, capsys):
    own = {"dataset": "digits", "schedule.name": "quick"}
    for sparsity, iterations in ((0.5, 300), (0.8, 400), (0.9, 200)):
        record(tmp_path, f"{sparsity}", [2.0], sparsity=sparsity, iterations=iterations, **own)
    assert shown(capsys, str(tmp_path))[-1] == "short: 200 of the 300 iterations of schedule=quick (in 1 of 3 rows)"


def test_a_schedule_of_ones_own_is_not_called_short(tmp_path, capsys):
    record(tmp_path, "a", [2.0], dataset="digits", iterations=5, **{"schedule.name": "my_own"})
    assert not any(line.startswith("short") for line in shown(capsys, str(tmp_path)))


def test_a_column_that_is_empty_in_every_row_is_left_out_of_all_but_csv(tmp_path, capsys):
    record(tmp_path, "a", [2.0], dataset="digits")
    for style in ("text", "markdown", "latex"):
        said = "\n".join(shown(capsys, str(tmp_path), "--format", style))
        assert "error" in said and "paper" not in said and "difference" not in said
    [row] = csv.DictReader(io.StringIO("\n".join(shown(capsys, str(tmp_path), "--format", "csv"))))
    assert (row["published"], row["difference"]) == ("", "")


def test_a_short_training_has_no_difference_from_the_paper(tmp_path, capsys):
    record(tmp_path, "short", [6.13], sparsity=0.95, iterations=200)
    header, _, row, *_ = shown(capsys, str(tmp_path))
    assert "paper (%)" in header and "difference" not in header and "1.6 *" in row
    record(tmp_path, "full", [2.0], sparsity=0.98)
    rows = csv.DictReader(io.StringIO("\n".join(shown(capsys, str(tmp_path), "--format", "csv"))))
    assert {row["sparsity"]: row["difference"][:5] for row in rows} == {"0.95": "", "0.98": "-0.39"}
