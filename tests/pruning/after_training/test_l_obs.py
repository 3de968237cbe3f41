"""L-OBS: against least squares, and its weights from the mask to the record, also when the run is interrupted."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.commands.snip_run import main
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.after_training.l_obs import (
    LObsOptions,
    adapted,
    inverse,
    l_obs,
    layer_hessians,
    saliencies,
    seconds_of_inverse,
)
from snip_cli.pruning.after_training.layer_inputs import applications, layers_of, rows_of, units_of
from snip_cli.pruning.method import Request
from snip_cli.runfolder import checkpoint
from snip_cli.runtime.words import duration
from tests.snip_run import QUICK

DAMPING = 1e-3


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def convolution():
    """The first layer is alone in what it reads; groups of channels, strides and padding."""
    return nn.Sequential(nn.Conv2d(2, 4, (3, 2), stride=2, padding=1, groups=2), nn.Flatten(), nn.Linear(24, 3))


def without_bias():
    return nn.Sequential(nn.Conv2d(1, 3, 2, bias=False), nn.Flatten(), nn.Linear(27, 3, bias=False))


@pytest.fixture(params=[linear, convolution, without_bias])
def tiny(request):
    torch.manual_seed(1)
    return request.param().double()


def data_for(model):
    channels = 2 if isinstance(model[0], nn.Conv2d) and model[0].in_channels == 2 else 1
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(40, channels, 4, 4, generator=generator, dtype=torch.float64)
    images[:, :, :, 0] = 0  # a border that never changes
    return images, torch.randint(3, (40,), generator=generator)


def masks_of(model, removed):
    """Keeps everything but these entries of the first weight."""
    mask = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in prunable_parameters(model).items()}
    mask[next(iter(mask))].view(-1)[removed] = False
    return mask


def least_squares(model, inputs, mask):
    """The first layer's weights and bias in `mask` that change its outputs least, by a solver of its own, with the damping as further rows."""
    [name, layer], *_ = layers_of(model).items()
    rows_NGPK, solved = rows_of(layer, inputs), []
    keep_OK = mask[name].flatten(1)
    per_group = len(keep_OK) // rows_NGPK.shape[1]
    for unit, keep in enumerate(keep_OK):
        rows = rows_NGPK[:, unit // per_group].flatten(0, 1)
        before = layer.weight.detach().flatten(1)[unit]
        if layer.bias is not None:
            rows, before = (
                torch.cat([rows, torch.ones(len(rows), 1).double()], 1),
                torch.cat([before, layer.bias[unit : unit + 1].detach()]),
            )
            keep = torch.cat([keep, torch.ones(1).bool()])
        everything = [
            torch.cat([r, torch.ones(len(r), 1).double()], 1) if layer.bias is not None else r
            for r in rows_NGPK.transpose(0, 1).flatten(1, 2)
        ]
        scale = torch.stack([r.square().mean(0) for r in everything]).mean()
        damped = torch.cat([rows, (DAMPING * scale * len(rows)).sqrt() * torch.eye(len(before)).double()])
        found = torch.linalg.lstsq(damped[:, keep], damped @ before).solution
        after = torch.zeros_like(before)
        after[keep] = found
        error = (damped @ (after - before)).square().mean() * len(damped) / len(rows)
        solved.append((after, error))
    return solved


def result(model, weights):
    [name, layer], *_ = layers_of(model).items()
    flat = weights[name].flatten(1)
    return flat if layer.bias is None else torch.cat([flat, weights[name.replace("weight", "bias")][:, None]], dim=1)


def test_one_removal_is_the_constrained_least_squares_solution_and_its_saliency_half_the_error(tiny):
    batch = data_for(tiny)
    layers, hessians = layers_of(tiny), layer_hessians(tiny, [batch], DAMPING)
    name = next(iter(layers))
    found = saliencies(layers[name], hessians[name], torch.ones_like(layers[name].weight, dtype=torch.bool))
    for removed in range(found.numel()):
        mask = masks_of(tiny, [removed])
        solved = least_squares(tiny, batch[0], mask)
        weights, _ = adapted(layers, hessians, mask)
        torch.testing.assert_close(result(tiny, weights), torch.stack([after for after, _ in solved]))
        torch.testing.assert_close(found.flatten()[removed], sum(error for _, error in solved) / 2)


def test_any_number_of_removals_is_the_constrained_least_squares_solution(tiny):
    batch = data_for(tiny)
    [name, layer], *_ = layers_of(tiny).items()
    mask = masks_of(
        tiny,
        torch.randperm(layer.weight.numel(), generator=torch.Generator().manual_seed(3))[
            : layer.weight.numel() * 2 // 3
        ],
    )
    weights, findings = adapted(layers_of(tiny), layer_hessians(tiny, [batch], DAMPING), mask)
    solved = least_squares(tiny, batch[0], mask)
    torch.testing.assert_close(result(tiny, weights), torch.stack([after for after, _ in solved]))
    assert not weights[name][~mask[name]].any()
    first, *others = (found["error"] for found in findings.values())
    assert 0 < first < 1
    assert all(other == pytest.approx(0, abs=1e-20) for other in others)  # a layer that loses nothing stays as it is


def test_the_saliency_of_a_later_round_takes_what_was_removed_before_as_gone(tiny):
    batch = data_for(tiny)
    layers, hessians = layers_of(tiny), layer_hessians(tiny, [batch], DAMPING)
    name = next(iter(layers))
    before = masks_of(tiny, [0, 2])
    layers[name].weight.data *= before[name]
    found = saliencies(layers[name], hessians[name], before[name])
    assert not found[~before[name]].any()
    for removed in (1, 3):
        solved = least_squares(tiny, batch[0], masks_of(tiny, [0, 2, removed]))
        torch.testing.assert_close(found.flatten()[removed], sum(error for _, error in solved) / 2)


def test_the_inverse_is_that_of_the_papers_recursive_formula():
    rows = torch.randn(30, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    damping = 0.01
    found = torch.eye(7, dtype=torch.float64) / damping
    for row in rows:
        pull = found @ row
        found = found - torch.outer(pull, pull) / (len(rows) + row @ pull)
    torch.testing.assert_close(inverse(rows.T @ rows / len(rows) + damping * torch.eye(7).double()), found)


def test_batches_and_pieces_give_one_hessian(tiny, monkeypatch):
    images, labels = data_for(tiny)
    whole = layer_hessians(tiny, [(images, labels)], DAMPING)
    monkeypatch.setattr("snip_cli.pruning.after_training.layer_inputs.CHUNK", 1)
    parts = layer_hessians(tiny, [(images[:7], labels[:7]), (images[7:], labels[7:])], DAMPING)
    assert all(torch.allclose(whole[name], parts[name]) for name in whole)


def test_one_threshold_on_the_part_of_each_layers_outputs_serves_all_layers(tiny):
    batch = data_for(tiny)
    layers, hessians = layers_of(tiny), layer_hessians(tiny, [batch], DAMPING)
    options = LObsOptions(damping=DAMPING)
    mask = l_obs(tiny, [batch], F.cross_entropy, Request(0.3, torch.Generator()), options).mask
    assert sum(int(keep.sum()) for keep in mask.values()) == round(sum(p.numel() for p in tiny.parameters()) * 0.7)
    outputs = {}
    with applications(tiny) as seen:
        tiny(batch[0])
        for name, layer in layers.items():
            outputs[name] = units_of(layer, seen[name].outputs).square().mean((0, 2)).sum().item()
    kept, gone = [], []
    for name, layer in layers.items():
        part = saliencies(layer, hessians[name], torch.ones_like(layer.weight, dtype=torch.bool)) / outputs[name]
        kept.append(part[mask[name]])
        gone.append(part[~mask[name]])
        assert mask[name].any()
    assert torch.cat(gone).max() <= torch.cat(kept).min() * 1.01  # the damping is not in the outputs


COMMAND = [*QUICK, "method=l_obs", "method.batch_size=50", "method.batches=2", "method.rate=0.2"]


def only(top, pattern):
    [found] = top.glob(pattern)
    return found


@pytest.mark.usefixtures("small_lenet")
def test_training_starts_from_the_adapted_weights(tmp_path):
    short = ["schedule.iterations=0", "schedule@dense_schedule=quick", "dense_schedule.iterations=8"]
    assert main([*COMMAND, "sparsity=0.15", *short, f"output_dir={tmp_path}"]) == 0
    before, after = (checkpoint.load(only(tmp_path, f"{name}-*")) for name in ("reference", "l_obs"))
    mask = after.masks[0]
    for name, keep in mask.items():
        assert not after.weights[0][name][~keep].any()
    findings = json.loads((only(tmp_path, "l_obs-*") / "pruning.json").read_text())["0"]["layers"]
    for layer in ("fc1", "fc2"):
        weight, bias = f"{layer}.weight", f"{layer}.bias"
        assert not torch.equal(after.weights[0][weight], before.weights[0][weight] * mask[weight])
        assert not torch.equal(after.weights[0][bias], before.weights[0][bias])
        assert 0 < findings[layer]["error"] < 1


@pytest.mark.usefixtures("small_lenet")
def test_an_ablation_that_changes_the_mask_or_the_weights_starts_without_the_adapted_ones(tmp_path):
    short = ["schedule.iterations=0", "schedule@dense_schedule=quick", "dense_schedule.iterations=8", "sparsity=0.15"]
    command = [*COMMAND, *short, f"output_dir={tmp_path}"]
    assert main([*command, "method.ablation=shuffle_layers"]) == 0
    reference, shuffled = (checkpoint.load(only(tmp_path, f"{name}-*")) for name in ("reference", "l_obs"))
    for name, keep in shuffled.masks[0].items():
        assert torch.equal(shuffled.weights[0][name], reference.weights[0][name] * keep)
    assert main([*command, "method.redraw=true"]) == 0
    assert main([*QUICK, "sparsity=0", "schedule.iterations=0", f"output_dir={tmp_path / 'drawn'}"]) == 0
    redrawn = checkpoint.load(
        next(f for f in tmp_path.glob("l_obs-*") if "redraw: true" in (f / "config.yaml").read_text())
    )
    assert not any(
        torch.equal(redrawn.weights[0][name], reference.weights[0][name] * keep)
        for name, keep in redrawn.masks[0].items()
        if keep.dim() > 1
    )


@pytest.mark.parametrize("model", ["lstm_s", "gru_s"])
def test_recurrent_networks_are_refused_before_any_work(model, tmp_path, capsys):
    assert main([*COMMAND, "sparsity=0.15", f"model={model}", f"output_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert "method 'l_obs' needs linear layers and 2-D convolutions, but" in said and "choose another method" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("previous", "cubes"),
    [
        # One inverse of 16×16 for all three units, and a factor of 8×8, a third of the work, for each.
        (None, 16**3 + 3 * 8**3 / 3),
        # The first unit has 14 inputs left, the others 16.
        ([0, 2], 14**3 + 2 * 16**3 + (7**3 + 2 * 8**3) / 3),
    ],
)
def test_a_round_that_takes_long_says_so_before_the_work(previous, cubes, monkeypatch, caplog):
    torch.manual_seed(1)
    model = linear().double()
    request = Request(0.5, torch.Generator(), previous=None if previous is None else masks_of(model, previous))
    monkeypatch.setattr("snip_cli.pruning.after_training.l_obs.seconds_of_inverse", lambda like: 1024**3)
    monkeypatch.setattr("snip_cli.pruning.after_training.l_obs.LARGE", cubes - 1)
    l_obs(model, [data_for(model)], F.cross_entropy, request, LObsOptions())
    [said] = caplog.messages
    assert said.startswith(
        "l_obs: this round solves for each of 3 output units by itself, with matrices of up to 16×16"
    )
    assert said.endswith(f"about {duration(cubes)}")
    monkeypatch.setattr("snip_cli.pruning.after_training.l_obs.LARGE", cubes + 1)
    l_obs(model, [data_for(model)], F.cross_entropy, request, LObsOptions())
    assert len(caplog.messages) == 1


def test_the_time_of_an_inverse_is_measured():
    assert 0 < seconds_of_inverse(torch.empty(0, dtype=torch.float64)) < 60
