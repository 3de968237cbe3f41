"""`compact=true` from the command line: the files it writes, loading the network again, and its errors."""

import json

import pytest
import torch

from snip_cli.commands.snip_run import main
from snip_cli.compact import load, measure, network, stage
from snip_cli.compact.network import Compact
from snip_cli.errors import ConfigError
from tests.snip_run import QUICK, only_run, run_quick

SPARSE = ["sparsity=0.98", "model=lenet_5_caffe"]
# The times need not be exact here.
FEW = {"MOST": 2, "LEAST": 1, "SECONDS": 0.0}


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    for name, value in FEW.items():
        monkeypatch.setattr(measure, name, value)


def compact_json(folder):
    return json.loads((folder / "compact.json").read_text())


def test_it_follows_a_run_and_leaves_two_files_and_a_table(tmp_path, capsys):
    folder = run_quick(tmp_path, *SPARSE, "compact=true", "seeds=2")
    content = compact_json(folder)
    assert [entry["seed"] for entry in content["seeds"]] == [0, 1]
    for entry in content["seeds"]:
        dense, masked, small = (entry[name] for name in ("dense", "masked", "compact"))
        assert dense["parameters"] == masked["parameters"] == 431_080 > small["parameters"]
        assert dense["multiply_accumulates"] == masked["multiply_accumulates"] == 2_293_000
        assert small["multiply_accumulates"] < 2_293_000
        assert masked["bytes"] > 4 * 431_080 > 4 * small["parameters"] > 0.9 * (small["bytes"] - 20_000)
        assert masked["not_zero"] <= round(431_080 * 0.02)
        assert set(small["milliseconds"]) == set(small["processor_milliseconds"]) == {"1", "128"}
        assert entry["max_difference"] <= 1e-5
        assert 0 < entry["rounding_of_masked"] <= 1e-5
        assert entry["max_difference_float64"] <= 1e-9
        assert [layer["name"] for layer in entry["layers"]] == ["conv1", "conv2", "fc1", "fc2"]
        for layer, after in zip(entry["layers"][:-1], entry["layers"][1:], strict=True):
            # A channel of the second convolution becomes 4×4 features, and the linear layer may leave some unread.
            assert after["inputs"][1] <= layer["outputs"][1] * (16 if after["name"] == "fc1" else 1)
    said = capsys.readouterr().out
    assert "multiply-accumulates" in said and "seed 1: outputs differ by at most" in said


def test_a_finished_run_is_compacted_without_training_and_in_the_same_folder(tmp_path, capsys):
    folder = run_quick(tmp_path, *SPARSE)
    before = (folder / "metrics.json").read_text()
    assert not (folder / "compact.json").exists()
    assert run_quick(tmp_path, *SPARSE, "compact=true") == folder
    assert "finished already" in capsys.readouterr().out
    assert (folder / "metrics.json").read_text() == before
    assert compact_json(folder)["images"] == 128


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_network_comes_back_from_the_folder(tmp_path, dtype):
    folder = run_quick(tmp_path, *SPARSE, "compact=true", "seeds=2", f"dtype={dtype}")
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)["weights"]
    for seed in (0, 1):
        small = load(folder, seed=seed)
        assert not small.training
        assert (
            sum(p.numel() for p in small.parameters()) == compact_json(folder)["seeds"][seed]["compact"]["parameters"]
        )
        assert torch.equal(small.get_submodule("fc2").bias, saved[seed]["fc2.bias"])
    assert torch.equal(load(folder).get_submodule("fc2").bias, saved[0]["fc2.bias"])


def test_the_reference_loses_nothing(tmp_path):
    folder = run_quick(tmp_path, "sparsity=0", "compact=true")
    [entry] = compact_json(folder)["seeds"]
    assert entry["compact"]["parameters"] == 266_610
    assert entry["max_difference"] == 0.0


def test_a_sweep_compacts_what_is_done_and_what_is_not(tmp_path, capsys):
    run_quick(tmp_path, "sparsity=0.9")
    command = ["-m", *QUICK, f"output_dir={tmp_path}", "sparsity=0.9,0.95", "compact=true"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "2 jobs, 0 done already" in said and "done, without its compact network" in said.replace(
        " by code with uncommitted changes", ""
    )
    assert len(list(tmp_path.glob("*/compact.json"))) == 2
    assert main(command) == 0
    assert "2 jobs, 2 done already" in capsys.readouterr().out


def test_under_torchrun_only_the_first_process_does_it(tmp_path, monkeypatch):
    folder = run_quick(tmp_path)
    monkeypatch.setenv("RANK", "1")
    called = []
    monkeypatch.setattr(stage, "compact_run", lambda *arguments, **options: called.append(arguments))
    run_quick(tmp_path, "compact=true")
    assert not called
    monkeypatch.setenv("RANK", "0")
    run_quick(tmp_path, "compact=true")
    assert called == [(folder,)]


def test_outputs_that_differ_are_refused_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    folder = run_quick(tmp_path, *SPARSE)

    def wrong(model, shape):
        result = network.compact(model, shape)
        with torch.no_grad():
            result.network.get_submodule("fc2").bias += 0.01
        return Compact(result.network, result.sizes, result.pads, result.layers)

    monkeypatch.setattr(stage, "compact", wrong)
    assert main([*QUICK, *SPARSE, f"output_dir={tmp_path}", "compact=true"]) == 1
    assert "differ from the masked network's by 0.01" in capsys.readouterr().err
    assert not (folder / "compact.json").exists() and not (folder / "compact.pt").exists()


def test_a_folder_without_a_finished_run(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="holds no finished run"):
            load(folder)
        with pytest.raises(ConfigError, match="holds no finished run"):
            stage.compact_run(folder, device="cpu", root="none")


@pytest.mark.parametrize("name", ["checkpoint.pt", "mask.pt"])
def test_missing_weights_or_masks(tmp_path, name, capsys):
    folder = run_quick(tmp_path, *SPARSE)
    (folder / name).unlink()
    assert main([*QUICK, *SPARSE, f"output_dir={tmp_path}", "compact=true"]) == 2
    assert f"{name} does not hold seed 0 (it holds: none)" in capsys.readouterr().err


def test_load_names_what_is_missing(tmp_path):
    folder = run_quick(tmp_path)
    with pytest.raises(ConfigError, match=r"compact.pt does not exist: run the same command with compact=true"):
        load(folder)
    run_quick(tmp_path, "compact=true")
    with pytest.raises(ConfigError, match=r"does not hold seed 7 \(it holds: 0\)"):
        load(folder, seed=7)
    (folder / "compact.pt").write_bytes(b"no zip")
    with pytest.raises(ConfigError, match=r"compact.pt is damaged"):
        load(only_run(tmp_path))
    (folder / "compact.pt").write_bytes((folder / "mask.pt").read_bytes())
    with pytest.raises(ConfigError, match=r"compact.pt belongs to another program: delete it and run"):
        load(folder)
