"""LWC: a layer's threshold is a multiple of the spread of its weights, and what is left is trained on at a tenth of the rate."""

import csv

import pytest
import torch
from torch import nn

from snip_cli.commands.snip_run import main
from snip_cli.pruning.after_training.lwc import LwcOptions, lwc
from snip_cli.pruning.after_training.rounds import rounds_at_rate
from snip_cli.pruning.method import Request
from snip_cli.runfolder import checkpoint
from tests.snip_run import QUICK


def network(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    model[2].weight.data *= 5
    return model


def mask_of(model, sparsity, previous=None):
    request = Request(sparsity, torch.Generator(), previous=previous)
    return lwc(model, [], None, request, LwcOptions()).mask


def kept_at(model, quality, left):
    """The weights above `quality` times the standard deviation of those that their layer has left."""
    return {
        name: left[name] & (p.detach().abs() > quality * p.detach()[left[name]].std(correction=0))
        for name, p in model.named_parameters()
        if p.dim() > 1
    }


@pytest.mark.parametrize("sparsity", [0.3, 0.7])
def test_one_quality_parameter_serves_all_layers_and_leaves_exactly_kappa(sparsity):
    previous = None
    for number, each in enumerate((sparsity / 2, sparsity)):
        model = network(number)
        left = previous or {name: torch.ones(p.shape, dtype=torch.bool) for name, p in model.named_parameters()}
        mask = mask_of(model, each, previous)
        wanted = round(940 * (1 - each)) - 40
        low, high = 0.0, 10.0
        for _ in range(60):
            middle = (low + high) / 2
            many = sum(int(keep.sum()) for keep in kept_at(model, middle, left).values()) > wanted
            low, high = (middle, high) if many else (low, middle)
        expected = kept_at(model, high, left)
        assert sum(int(keep.sum()) for keep in expected.values()) == wanted
        assert all(torch.equal(mask[name], keep) for name, keep in expected.items())
        assert mask["0.bias"].all() and mask["2.bias"].all()
        previous = mask


def test_a_layer_whose_weights_are_all_equal_is_pruned_by_their_magnitude():
    model = network()
    model[2].weight.data.fill_(0.5)
    assert sum(int(keep.sum()) for keep in mask_of(model, 0.5).values()) == 470


def test_each_round_halves_what_is_left():
    assert rounds_at_rate(network(), 0.88, LwcOptions()) == pytest.approx([450 / 940, 675 / 940, 787.5 / 940], abs=1e-3)


def only(top, pattern):
    [found] = top.glob(pattern)
    return found


def rates(folder):
    with (folder / "metrics.csv").open() as file:
        return [float(row["learning_rate"]) for row in csv.DictReader(file)]


def test_survivors_are_trained_on_from_where_they_are_at_a_tenth_of_the_rate(tmp_path, caplog):
    command = [*QUICK, "method=lwc", "sparsity=0.4", f"output_dir={tmp_path}"]
    assert (
        main([*command, "schedule.iterations=0", "dense_schedule.iterations=8", "schedule@dense_schedule=quick"]) == 0
    )
    reference, pruned = (checkpoint.load(only(tmp_path, f"{name}-*")) for name in ("reference", "lwc"))
    assert all(
        torch.equal(pruned.weights[0][name], reference.weights[0][name] * keep)
        for name, keep in pruned.masks[0].items()
    )
    assert main(command) == 0
    of_reference = rates(next(f for f in tmp_path.glob("reference-*") if len(rates(f)) == 2))
    assert rates(next(f for f in tmp_path.glob("lwc-*") if len(rates(f)) == 2)) == pytest.approx(
        [rate / 10 for rate in of_reference]
    )


def test_weights_that_are_drawn_anew_are_trained_at_the_full_rate(tmp_path):
    command = [*QUICK, "method=lwc", "sparsity=0.4", "method.redraw=true", f"output_dir={tmp_path}"]
    assert main(command) == 0
    assert rates(only(tmp_path, "lwc-*")) == rates(only(tmp_path, "reference-*"))
