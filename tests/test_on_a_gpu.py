"""What a GPU computes is what a processor does, to rounding, and the same again and again where that is asked for."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import snip_cli
from snip_cli.commands.snip_run import main
from snip_cli.runfolder import checkpoint
from snip_cli.training.stacked.trainer import StackedTrainer
from snip_cli.training.trainer import Trainer
from tests.snip_run import QUICK, read_metrics, run_quick, train_until_checkpoint

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

MODELS = ["lenet_300_100", "lenet_5_caffe", "lstm_s", "gru_s"]
GPU = "device=cuda"


def assert_same(found, expected, *, to):
    assert found.masks.keys() == expected.masks.keys()
    for seed, mask in expected.masks.items():
        for name, keep in mask.items():
            assert torch.equal(found.masks[seed][name], keep), name
        for name, weight in expected.weights[seed].items():
            torch.testing.assert_close(found.weights[seed][name], weight, rtol=0, atol=to)


@pytest.mark.parametrize("sparsity", [0.9, 0.98])
@pytest.mark.parametrize("model", MODELS)
def test_masks_and_weights_are_those_of_a_processor(model, sparsity, tmp_path):
    settings = [f"model={model}", f"sparsity={sparsity}", "dtype=float64"]
    here, there = (run_quick(tmp_path / device, *settings, f"device={device}") for device in ("cpu", "cuda"))
    assert_same(checkpoint.load(there), checkpoint.load(here), to=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_seeds_together_end_where_each_ends_alone(model, tmp_path):
    settings = [f"model={model}", "seeds=3", "dtype=float64", GPU]
    together, apart = (run_quick(tmp_path / how, *settings, f"replicates={how}") for how in ("stacked", "apart"))
    assert_same(checkpoint.load(together), checkpoint.load(apart), to=1e-9)


@pytest.mark.parametrize("settings", [["seeds=2"], ["schedule.optimizer=adam", "schedule.momentum=0"]], ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_deterministic_going_on_from_a_checkpoint_is_never_having_stopped(model, settings, tmp_path):
    settings = [f"model={model}", "deterministic=true", GPU, *settings]
    whole = run_quick(tmp_path / "whole", *settings)
    broken_off = train_until_checkpoint([*QUICK, *settings, f"output_dir={tmp_path / 'two'}"], tmp_path / "two")
    assert run_quick(tmp_path / "two", *settings) == broken_off
    assert_same(checkpoint.load(broken_off), checkpoint.load(whole), to=0)


@pytest.mark.parametrize("kind", [Trainer, StackedTrainer])
def test_an_iteration_waits_for_nothing(kind, monkeypatch, tmp_path):
    step = kind.step

    def without_waiting(self, images, labels):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return step(self, images, labels)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(kind, "step", without_waiting)
    for model in MODELS:
        settings = [f"model={model}", f"replicates={'stacked' if kind is StackedTrainer else 'apart'}", "seeds=2", GPU]
        assert main([*QUICK, *settings, f"output_dir={tmp_path}"]) == 0


@pytest.mark.parametrize("setting", ["dtype=bfloat16", "compile=true"])
def test_faster_arithmetic_comes_near_the_plain(setting, tmp_path):
    settings = ["model=lenet_5_caffe", "init_train=vs_h", "schedule.iterations=60", GPU]
    plain, fast = (run_quick(tmp_path / name, *settings, *own) for name, own in (("plain", []), ("fast", [setting])))
    [[expected], [found]] = (read_metrics(folder)["seeds"] for folder in (plain, fast))
    assert found["test_error"] == pytest.approx(expected["test_error"], abs=5)


def test_a_smaller_network_is_made_and_timed_there(tmp_path):
    folder = run_quick(tmp_path, "model=lenet_5_caffe", "sparsity=0.98", "compact=true", GPU)
    [entry] = json.loads((folder / "compact.json").read_text())["seeds"]
    assert entry["compact"]["parameters"] < entry["masked"]["parameters"]
    assert entry["compact"]["milliseconds"]["128"] > 0


@pytest.mark.parametrize("deterministic", ["true", "false"])
@pytest.mark.parametrize("method", ["snacs", "snacs method.phi=activation", "mint", "l1_filter"])
def test_a_trained_network_is_pruned_there(method, deterministic, tmp_path):
    name, *own = method.split()
    few = [] if name == "l1_filter" else ["method.samples_per_class=20", "method.groups=4"]
    settings = [f"method={name}", "model=lenet_5_caffe", "sparsity=0.3", GPU, f"deterministic={deterministic}"]
    assert main([*QUICK, f"output_dir={tmp_path}", *settings, *few, *own]) == 0
    [metrics] = map(read_metrics, tmp_path.glob(f"{name}-*"))
    assert 0 < metrics["sparsity"] <= 0.3


class Dropped(nn.Module):
    """Dropout between layers, between the layers of an LSTM, and noise from each device."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(8, 16, 2, batch_first=True, dropout=0.5), nn.Linear(16, 4)

    def forward(self, x):
        hidden = self.lstm(x.unsqueeze(1) + torch.randn(8).to(x.device))[0][:, -1]
        return self.out(F.dropout(hidden, training=self.training) + torch.randn(16, device=x.device))


def test_the_same_call_prunes_alike_and_moves_no_global_generator():
    model = Dropped().cuda()
    batch = torch.randn(32, 8).cuda(), torch.randint(4, (32,)).cuda()
    masks = []
    for seed in range(2):
        torch.manual_seed(seed)
        before = torch.get_rng_state(), torch.cuda.get_rng_state()
        masks.append(snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.5))
        after = torch.get_rng_state(), torch.cuda.get_rng_state()
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])
