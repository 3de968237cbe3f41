"""The limits of layers as table, CSV and picture."""

import csv
import io

import pytest

from snip_cli.errors import ConfigError
from snip_cli.report.limits import LISTED, draw_limits, limits_csv, limits_table, relative


def limit(name, **fields):
    return {
        "name": name,
        "limit": 0.51,
        "bound_by": "accuracy",
        "grid": (0.01, 0.51, 0.96),
        "accuracy": (0.9, 0.8, 0.1),
        "unpruned": 0.95,
    } | fields


def limits_like(model):
    return [limit(f"layer{place}") for place in range(len(LISTED[model]))]


def test_the_table_has_the_limit_and_the_authors_number_beside_it():
    first, _, row, *_ = limits_table(limits_like("vgg16"), "vgg16").splitlines()
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


@pytest.mark.parametrize(("model", "pairs"), [("vgg16", 14), ("resnet56", 55)])
def test_the_authors_list_has_a_number_for_each_pair(model, pairs):
    assert len(LISTED[model]) == pairs
    assert all(0 <= percent < 100 for percent in LISTED[model])


def test_the_picture_is_written(tmp_path):
    draw_limits(limits_like("resnet56"), "resnet56", tmp_path / "limits.png")
    assert (tmp_path / "limits.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        draw_limits([limit("only")], "vgg16", tmp_path / "missing" / "limits.png")


def test_accuracies_are_told_from_the_lowest_to_the_highest():
    assert relative((0.5, 0.3, 0.4)) == pytest.approx([1.0, 0.0, 0.5])
    assert relative((0.5, 0.5)) == [1.0, 1.0]
