"""snip-report --layers: what is left of each layer, as a table, as CSV and as a picture."""

import csv
import io
import shutil

import pytest
import torch

from snip_cli.commands import layers
from snip_cli.commands.layers import shares_of
from snip_cli.commands.snip_report import main
from snip_cli.commands.snip_run import main as run
from snip_cli.models.recurrent import RowByRow
from snip_cli.registry import models
from tests.report.pictures import PNG, numbers
from tests.snip_run import QUICK, read_metrics, run_quick


def rows_of(capsys, *arguments):
    capsys.readouterr()
    assert main([*map(str, arguments), "--layers", "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_a_run_has_shapes_counts_densities_and_multiply_adds(tmp_path, capsys):
    folder = run_quick(tmp_path, "sparsity=0.9", "seeds=2")
    rows = rows_of(capsys, tmp_path)
    assert [(row["layer"], row["shape"], row["total"], row["n"]) for row in rows] == [
        ("fc1", "300×784", "235500", "2"),
        ("fc2", "100×300", "30100", "2"),
        ("fc3", "10×100", "1010", "2"),
    ]
    seeds = read_metrics(folder)["seeds"]
    assert [float(row["kept"]) for row in rows] == [
        sum(seed["layers"][place]["kept"] for seed in seeds) / 2 for place in range(3)
    ]
    assert sum(float(row["kept"]) for row in rows) == 26_661
    effective = sum(float(row["effective_density"]) * int(row["total"]) for row in rows)
    assert effective == pytest.approx(sum(seed["effective_kept"] for seed in seeds) / 2)
    shares = [235_200 / 266_200, 30_000 / 266_200, 1_000 / 266_200]
    assert [float(row["multiply_adds"]) for row in rows] == pytest.approx(shares)


def test_the_table_has_a_last_line_of_all_layers(tmp_path, capsys):
    run_quick(tmp_path, "sparsity=0.9", "model=lenet_5_caffe")
    assert main([str(tmp_path), "--layers"]) == 0
    heading, _, names, _, conv1, *_, last = capsys.readouterr().out.rstrip().splitlines()[-9:]
    assert heading == "snip, lenet_5_caffe, digits, sparsity 0.9 (n = 1)"
    assert names.split("  ")[0] == "layer"
    assert names.endswith("  dense multiply-adds (%)")
    assert conv1.split()[:3] == ["conv1", "20×1×5×5", "520"]
    assert last.split()[:4] == ["all", "431,080", "43,108", "0.1000"]
    assert last.split()[-1] == "100.0"


def test_methods_stand_side_by_side_in_the_picture(tmp_path):
    assert run([*QUICK, "-m", "method=snip,random", "sparsity=0,0.9", f"output_dir={tmp_path / 'runs'}"]) == 0
    picture = tmp_path / "layers.png"
    assert main([str(tmp_path / "runs"), "--layers", "--figure", str(picture)]) == 0
    assert picture.read_bytes().startswith(PNG)
    shown = [(row["method"], row["layer"]) for row in numbers(picture.with_suffix(".csv"))]
    assert shown == [(method, f"fc{layer}") for method in ("random", "snip") for layer in (1, 2, 3)]


def test_a_network_is_built_and_traced_once_for_all_its_runs(tmp_path, monkeypatch, capsys):
    folder = run_quick(tmp_path / "one", "sparsity=0.9")
    shutil.copytree(folder, tmp_path / "two")
    config = tmp_path / "two" / "config.yaml"
    config.write_text(config.read_text().replace("name: snip", "name: random"))
    built = []
    monkeypatch.setattr(layers, "built", lambda cell, build=layers.built: built.append(cell) or build(cell))
    rows = rows_of(capsys, tmp_path)
    assert len(built) == 1
    assert [row["method"] for row in rows] == ["random"] * 3 + ["snip"] * 3
    assert [row["effective_density"] for row in rows[:3]] == [row["effective_density"] for row in rows[3:]] != [""] * 3


def test_a_record_without_masks_lacks_effective_densities_alone(tmp_path, capsys):
    run_quick(tmp_path / "runs", "sparsity=0.9")
    assert main([str(tmp_path / "runs"), "--records", str(tmp_path / "records")]) == 0
    with_masks, without = (rows_of(capsys, tmp_path / name) for name in ("runs", "records"))
    assert [row | {"effective_density": ""} for row in with_masks] == without
    assert all(row["effective_density"] for row in with_masks)


def test_a_network_that_is_not_here_lacks_multiply_adds_alone(tmp_path, capsys):
    folder = run_quick(tmp_path, "sparsity=0.9")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("name: lenet_300_100", "name: my_own"))
    rows = rows_of(capsys, tmp_path)
    assert [(row["shape"], row["multiply_adds"], row["effective_density"]) for row in rows] == [
        (shape, "", "") for shape in ("300×784", "100×300", "10×100")
    ]
    assert all(float(row["density"]) > 0 for row in rows)
    main([str(tmp_path), "--layers"])
    assert "of my_own are not known here: There is no model 'my_own'" in capsys.readouterr().err


def test_a_run_that_is_not_finished_shows_its_masks(tmp_path, capsys):
    folder = run_quick(tmp_path, "sparsity=0.9")
    (folder / "metrics.json").unlink()
    assert main([str(tmp_path), "--layers"]) == 0
    said = capsys.readouterr().out
    assert "sparsity 0.9 (unfinished)" in said
    assert "26,661" in said


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["--table", "Table 1"], "--layers cannot be combined with --table"),
        (["--masks", "m.png"], "--layers cannot be combined with --masks"),
        (["--figure", "no/such/folder/layers.png"], "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence(arguments, phrase, tmp_path, capsys):
    run_quick(tmp_path, "sparsity=0.9")
    capsys.readouterr()
    assert main([str(tmp_path), "--layers", *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert phrase in said.err


def test_where_nothing_is_known_of_layers_one_sentence_says_so(tmp_path, capsys):
    folder = run_quick(tmp_path, "sparsity=0.9")
    for name in ("metrics.json", "mask.pt"):
        (folder / name).unlink()
    assert main([str(tmp_path), "--layers"]) == 2
    assert "No run here has layers to show" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["lstm_s", "gru_s"])
def test_what_a_recurrent_layer_multiplies_is_its_own(kind):
    with torch.device("meta"):
        model = models[kind]((1, 28, 28), 10)
    assert isinstance(model, RowByRow)
    gates, units = {"lstm_s": 4, "gru_s": 3}[kind], 128
    own = {"projection": 28 * 28 * 128, "recurrent": 28 * gates * units * (128 + units), "classifier": units * 10}
    total = sum(own.values())
    assert shares_of(model, [1, 28, 28]) == pytest.approx({name: count / total for name, count in own.items()})


def test_networks_whose_forward_pass_fails_without_numbers_have_no_shares(caplog):
    class Asks(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    assert shares_of(Asks(2, 2, device="meta"), [2]) == {}
    assert "multiply-adds of a network are not known" in caplog.text
