"""The limits of layers as table, CSV and picture."""

import csv
import io

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.errors import ConfigError
from snip_cli.report.figures.limits import Limit, draw_limits, limits_csv, limits_table, relative
from snip_cli.report.published.snacs import PUBLISHED_LAYERS
from tests.snip_run import run_quick


def limit(name, **fields):
    own = {"limit": 0.51, "bound_by": "accuracy", "grid": (0.01, 0.51, 0.96), "accuracy": (0.9, 0.8, 0.1)}
    return Limit(name, **{**own, "unpruned": 0.95} | fields)


def limits_like(model):
    return [limit(f"layer{place}") for place in range(len(PUBLISHED_LAYERS[model]["SNACS"]) - 1)]


def test_the_table_has_the_limit_and_the_authors_number_beside_it():
    first, _, row, *_ = limits_table(limits_like("vgg16"), "vgg16", "github").splitlines()
    assert first.split("|")[1].strip() == "layer"
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "layer0",
        "51.0",
        "accuracy",
        "0",
        "95.0",
        "90.0",
        "10.0",
    ]


def test_a_network_that_the_authors_do_not_list_has_no_number():
    for limits, model in ((limits_like("vgg16"), "lenet_5_caffe"), ([limit("only")], "vgg16")):
        rows = list(csv.DictReader(io.StringIO(limits_csv(limits, model))))
        assert {row["listed"] for row in rows} == {""}


def test_the_csv_has_all_digits_of_every_accuracy():
    [row] = csv.DictReader(io.StringIO(limits_csv([limit("only", accuracy=(1 / 3, 0.5, 0.25))], "none")))
    assert float(row["accuracy at 0.01"]) == 1 / 3
    assert (row["layer"], row["limit"], row["bound_by"], row["unpruned"]) == ("only", "0.51", "accuracy", "0.95")


@pytest.mark.parametrize(("model", "layers"), [("vgg16", 15), ("resnet56", 56), ("resnet50", 54)])
def test_the_authors_list_has_a_number_for_each_layer(model, layers):
    assert all(len(percents) == layers for percents in PUBLISHED_LAYERS[model].values())
    assert all(0 <= percent < 100 for percents in PUBLISHED_LAYERS[model].values() for percent in percents)


def test_the_report_draws_the_limits_of_a_run(tmp_path, capsys):
    run = run_quick(
        tmp_path / "runs",
        "method=snacs",
        "sparsity=auto",
        "method.groups=8",
        "method.samples_per_class=9",
        "pretrained=" + trained(tmp_path),
    )
    capsys.readouterr()
    for form, start in {"text": "fc", "markdown": "| fc", "latex": "fc", "csv": "fc"}.items():
        assert main([str(run), "--limits", str(tmp_path / "limits.png"), "--format", form]) == 0
        shown = capsys.readouterr().out.splitlines()
        assert [line.strip("| ")[:3] for line in shown if line.startswith(start)] == ["fc2", "fc3"]
    assert main([str(run), "--limits", str(tmp_path / "limits.png")]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("fc2 ")
    assert (tmp_path / "limits.png").read_bytes().startswith(b"\x89PNG")


def trained(tmp_path):
    return str(run_quick(tmp_path / "dense", "sparsity=0") / "checkpoint.pt")


def test_a_run_that_set_no_limits_has_none_to_draw(tmp_path, capsys):
    run = run_quick(tmp_path / "runs", "sparsity=0.5")
    assert main([str(run), "--limits", str(tmp_path / "limits.png")]) == 2
    assert "has no pruning.json with limits: name the folder of a run with method=snacs" in capsys.readouterr().err


def test_a_folder_of_runs_is_no_run(tmp_path, capsys):
    assert main([str(tmp_path), "--limits", str(tmp_path / "limits.png")]) == 2
    assert f"{tmp_path} is not a run's folder: name the folder of one run" in capsys.readouterr().err


def test_the_picture_is_written(tmp_path):
    draw_limits(limits_like("resnet56"), "resnet56", tmp_path / "limits.png")
    assert (tmp_path / "limits.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        draw_limits([limit("only")], "vgg16", tmp_path / "missing" / "limits.png")


def test_accuracies_are_scaled_from_the_lowest_to_the_highest():
    assert relative((0.5, 0.3, 0.4)) == pytest.approx([1.0, 0.0, 0.5])
    assert relative((0.5, 0.5)) == [1.0, 1.0]
