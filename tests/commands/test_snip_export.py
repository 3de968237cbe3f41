"""snip-export writes a file that onnxruntime runs, for any batch, with the outputs of the network; each error is one line."""

import dataclasses
import functools

import numpy
import pytest
import torch
from torch import nn

from snip_cli.commands import snip_export as export
from snip_cli.compact import files
from snip_cli.compact.network import compact
from snip_cli.errors import ConfigError, RunError
from snip_cli.runfolder.record import read_finished
from tests.compact.emptied import Conditional, Residual, half_emptied
from tests.models.test_models import EXPECTED, build
from tests.snip_run import run_quick

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra is not installed: pip install 'snip-run[dev]'")
SPARSE = ["sparsity=0.98", "model=lenet_5_caffe"]


def convolutions():
    """What its first convolution has lost is a constant before the padding of the second."""
    return nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two seeds."""
    return run_quick(tmp_path_factory.mktemp("runs"), *SPARSE, "seeds=2")


def outputs(file, images):
    """What onnxruntime makes of images N×C×H×W."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["images"]
    return session.run(["outputs"], {"images": images.numpy()})[0]


@torch.no_grad()
def agrees(file, model, shape):
    for count in (1, 5):
        images = torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))
        numpy.testing.assert_allclose(outputs(file, images), model(images).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("flags, seed", [([], 0), (["--seed", "1"], 1), (["--seed", "1", "--masked"], 1)])
def test_onnxruntime_gives_the_networks_outputs(finished, tmp_path, flags, seed, capsys):
    file = tmp_path / "network.onnx"
    assert export.main([str(finished), str(file), *flags]) == 0
    assert f"seed {seed} of {finished}" in capsys.readouterr().out
    agrees(file, files.masked_model(read_finished(finished), seed), (1, 28, 28))
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]


def test_the_compact_network_makes_the_smaller_file_and_replaces_another(finished, tmp_path):
    file = tmp_path / "network.onnx"
    assert export.main([str(finished), str(file), "--masked"]) == 0
    whole = file.stat().st_size
    assert export.main([str(finished), str(file)]) == 0
    assert whole > 4 * 431_080 > file.stat().st_size


@pytest.mark.parametrize("make", [Residual, convolutions, functools.partial(build, "gru_s")])
def test_channels_of_ones_paddings_and_recurrent_layers_can_be_exported(make, tmp_path):
    shape = EXPECTED["gru_s"][0] if isinstance(make, functools.partial) else (2, 6, 6)
    model = half_emptied(make()).float()
    file = tmp_path / "network.onnx"
    file.write_bytes(export.as_onnx(compact(model, shape).network, shape))
    agrees(file, model, shape)


@pytest.mark.parametrize("model", ["lenet_5_caffe", "gru_s"])
def test_float64_is_written_as_float32_and_said(model, tmp_path, capsys):
    folder = run_quick(tmp_path, "sparsity=0.98", f"model={model}", "dtype=float64")
    capsys.readouterr()
    file = tmp_path / "network.onnx"
    assert export.main([str(folder), str(file)]) == 0
    assert "written in float32, because onnxruntime has no convolution" in capsys.readouterr().out
    agrees(file, files.masked_model(read_finished(folder), 0).float(), (1, 28, 28))


def test_a_file_that_onnxruntime_cannot_run_or_runs_otherwise_is_refused():
    network = convolutions().eval()
    content = export.as_onnx(network, (2, 6, 6))
    export.check_onnx(content, network, (2, 6, 6))
    with pytest.raises(RunError, match="onnxruntime's outputs differ from the network's by"):
        export.check_onnx(content, convolutions().eval(), (2, 6, 6))
    with pytest.raises(ConfigError, match="onnxruntime cannot run the exported network"):
        export.check_onnx(export.as_onnx(network.double(), (2, 6, 6)), network.double(), (2, 6, 6))


def test_what_kept_channels_and_a_check_that_was_not_made_are_said(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "find_spec", lambda name: name != "onnxruntime")
    smaller = compact(files.masked_model(read_finished(finished), 0), (1, 28, 28))
    monkeypatch.setattr("snip_cli.compact.compact", lambda *_: dataclasses.replace(smaller, stopped=["roll in body"]))
    assert export.main([str(finished), str(tmp_path / "network.onnx")]) == 0
    said = capsys.readouterr().out
    assert "because compaction does not follow roll in body" in said
    assert "not checked, because onnxruntime is not installed here" in said


def test_each_error_is_one_line(finished, tmp_path, capsys):
    there = str(tmp_path / "network.onnx")
    for arguments, sentence in (
        ([str(tmp_path), there], "holds no finished run"),
        ([str(finished), str(tmp_path / "none" / "network.onnx")], "name a file in an existing folder"),
        ([str(finished), str(tmp_path)], "name a file in an existing folder"),
        ([str(finished), there, "--seed", "7"], "does not hold seed 7 (it holds: 0, 1)"),
    ):
        assert export.main(arguments) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.startswith("snip-export: ") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_onnx_the_remedy_is_named(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    assert export.main([str(finished), str(tmp_path / "network.onnx")]) == 2
    assert "pip install 'snip-run[export]'" in capsys.readouterr().err


class Fixed(nn.Module):
    """Takes its batch's size as a number."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x.flatten(1)) + torch.zeros(len(x), 2)


def test_a_network_whose_batch_is_fixed_or_that_cannot_be_exported():
    with pytest.raises(ConfigError, match=r"write x.shape\[0\] instead of len\(x\)"):
        export.as_onnx(Fixed().eval(), (1, 2, 2))
    with pytest.raises(ConfigError, match="PyTorch cannot export this network"):
        export.as_onnx(Conditional().eval(), (1, 2, 6))
