"""Masks and errors against the size of the saliency batch."""

from pathlib import Path

import numpy
import pytest

from snip_cli.commands.mean_image import mean_training_image
from snip_cli.commands.snip_report import main
from snip_cli.commands.snip_run import main as snip_run
from snip_cli.data.digits import digits
from snip_cli.data.splits import held_out_rows
from snip_cli.report.cells import cells
from snip_cli.report.figures.batch_sizes import draw_batch_sizes
from snip_cli.report.records import read_tree
from tests.report.pictures import drawn, pixels
from tests.report.runs import record
from tests.snip_run import QUICK

SIZE = "method.batch_size"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    top = tmp_path_factory.mktemp("runs")
    assert snip_run([*QUICK, "-m", f"{SIZE}=1,10,100", "seeds=2", f"output_dir={top}"]) == 0
    return top


def test_masks_and_the_mean_image_above_and_errors_below(runs):
    above, below = draw_batch_sizes(cells(read_tree(runs)), mean_training_image).figure.axes
    assert [label.get_text() for label in above.get_xticklabels()] == ["1", "10", "100", "mean image"]
    assert above.get_images()[0].get_array().shape == (28, 4 * 29 - 1)
    assert below.get_lines()[0].get_xdata().tolist() == [1, 10, 100]


def test_the_csv_is_the_table_of_errors(runs):
    rows = drawn(runs, "--batch-sizes")
    assert [(row[SIZE], row["n"]) for row in rows] == [(size, "2") for size in ("1", "10", "100")]
    assert all(float(row["error"]) > 0 and float(row["std"]) >= 0 for row in rows)
    assert not [name for name in rows[0] if "pixel" in name]


def test_the_pixels_of_the_masks_and_of_the_mean_image_lie_in_a_file_of_their_own(runs):
    drawn(runs, "--batch-sizes")
    values = {}
    for row in pixels(runs):
        values.setdefault(row[SIZE], []).append(float(row["value"]))
    assert {name: len(found) for name, found in values.items()} == dict.fromkeys(["1", "10", "100", "mean image"], 784)
    assert (min(values["mean image"]), max(values["mean image"])) == (0.0, 1.0)


def test_of_a_data_set_of_a_users_folder_all_but_the_mean_image_is_drawn(tmp_path, capsys):
    for size in (1, 10):
        settings = {"dataset": "my_own", "dataset.shape": [1, 2, 2], SIZE: size}
        record(tmp_path, str(size), [1.9], masks={0: [[1, 2], [3, 4]]}, **settings)
    assert {row[SIZE] for row in drawn(tmp_path, "--batch-sizes")} == {"1", "10"}
    assert {row[SIZE] for row in pixels(tmp_path)} == {"1", "10"}
    assert "the mean training image is left out: 'my_own' is not a data set of snip-run" in capsys.readouterr().err


def test_the_mean_image_is_that_of_the_images_that_are_trained_on(runs):
    raw = digits(Path())
    rows, _ = held_out_rows(len(raw.train_images), 0.1, split_seed=9)
    mean_HW = raw.train_images[rows].double().mean(dim=(0, 1)).numpy()
    expected_HW = (mean_HW - mean_HW.min()) / (mean_HW.max() - mean_HW.min())
    assert mean_training_image(next(runs.glob("snip-*"))) == pytest.approx(expected_HW, abs=1e-6)


def test_the_published_errors_stand_beside_ours(tmp_path):
    for size in (1, 10):
        settings = {"sparsity": 0.9, "dataset.shape": [1, 2, 2], SIZE: size}
        record(tmp_path, str(size), [1.9] * 20, masks={0: [[1, 2], [3, 4]]}, **settings)
    record(tmp_path, "reference", [1.4], **settings | {"sparsity": 0})  # which has no saliency batch
    drawing = draw_batch_sizes(cells(read_tree(tmp_path)), lambda folder: numpy.eye(2))
    crosses = drawing.figure.axes[1].get_lines()[-1]
    assert (crosses.get_xdata().tolist(), crosses.get_ydata().tolist()) == ([1, 10], [1.94, 1.72])
    assert [row["published"] for row in drawing.rows] == [1.94, 1.72]
    assert drawing.figure.get_suptitle().endswith("(n = 20, 100,000 iterations); masks of seed 0")


def refused(top, capsys):
    assert main([str(top), "--batch-sizes", str(top / "sizes.png")]) == 2
    return capsys.readouterr().err


def test_runs_of_one_size_are_refused_with_what_to_run(tmp_path, capsys):
    record(tmp_path, "a", [1.0])
    assert f"No two finished runs differ in {SIZE}: run `snip-run -m {SIZE}=1,10,100` first." in refused(
        tmp_path, capsys
    )


def test_runs_that_differ_in_more_are_refused(tmp_path, capsys):
    for name, sparsity, size in (("a", 0.9, 1), ("b", 0.9, 10), ("c", 0.5, 10)):
        record(tmp_path, name, [1.0], sparsity=sparsity, **{SIZE: size})
    assert f"These runs differ in more than {SIZE} (sparsity 0." in refused(tmp_path, capsys)
