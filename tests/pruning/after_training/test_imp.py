"""Iterative magnitude pruning: how many weights each round keeps and which, and the rounds as runs of their own."""

import json

import pytest
import torch
from torch import nn

from snip_cli.commands.snip_run import main
from snip_cli.errors import ConfigError
from snip_cli.models.lenet import lenet_300_100
from snip_cli.pruning.after_training.imp import ImpOptions, imp, rounds, sizes
from snip_cli.pruning.after_training.rounds import shortest_sparsity, weights_per_layer
from snip_cli.pruning.mask import kept_count
from snip_cli.pruning.method import Request
from snip_cli.runfolder import checkpoint
from tests.snip_run import QUICK, start, wait_until

LENET = (1, 28, 28), 10


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))


def request(sparsity, previous=None):
    return Request(sparsity, torch.Generator(), previous=previous)


def mask_of(model, sparsity, options, previous=None):
    return imp(model, [], None, request(sparsity, previous), options).mask


def plain_round(model, mask, rates):
    """One round as Frankle & Carbin describe it: of each layer's weights left, the part with the smallest magnitudes goes."""
    left = {}
    for name, keep in mask.items():
        left[name] = keep.clone()
        if name in rates:
            order = sorted(
                keep.flatten().nonzero().flatten().tolist(),
                key=lambda i: abs(model.get_parameter(name).flatten()[i].item()),
            )
            gone = order[: round(len(order) * rates[name])]
            left[name].view(-1)[gone] = False
    return left


def test_a_round_removes_the_smallest_weights_of_each_layer_and_half_as_many_of_the_output_layer():
    model = network()
    everything = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in model.named_parameters()}
    expected = plain_round(model, everything, {"0.weight": 0.2, "2.weight": 0.1})
    first, *_ = rounds(model, 0.3, ImpOptions())
    mask = mask_of(model, first, ImpOptions())
    assert all(torch.equal(mask[name], expected[name]) for name in expected)


def test_two_rounds_remove_what_two_plain_rounds_remove():
    models = network(0), network(1)
    mask = expected = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in models[0].named_parameters()}
    for model, sparsity in zip(models, rounds(models[0], 0.45, ImpOptions())[:2], strict=True):
        mask = mask_of(model, sparsity, ImpOptions(), mask)
        expected = plain_round(model, expected, {"0.weight": 0.2, "2.weight": 0.1})
    assert all(torch.equal(mask[name], expected[name]) for name in expected)


@pytest.mark.parametrize("scope", ["layers", "global"])
@pytest.mark.parametrize("sparsity", [0.01, 0.2, 0.5, 0.9])
def test_the_last_round_keeps_exactly_kappa_and_every_bias_and_brings_nothing_back(scope, sparsity):
    options, previous, model = ImpOptions(scope=scope), None, network()
    total = sum(p.numel() for p in model.parameters())
    for number, each in enumerate([*rounds(model, sparsity, options), sparsity]):
        mask = mask_of(network(number), each, options, previous)
        assert sum(int(keep.sum()) for keep in mask.values()) == kept_count(total, each)
        assert mask["0.bias"].all() and mask["2.bias"].all()
        assert previous is None or not any((mask[name] & ~previous[name]).any() for name in mask)
        previous = mask


def test_global_keeps_the_largest_weights_of_all_layers():
    model = network()
    mask = mask_of(model, 0.5, ImpOptions(scope="global"))
    size = torch.cat([model.get_parameter(name).detach().abs().flatten() for name in ("0.weight", "2.weight")])
    keep = torch.cat([mask[name].flatten() for name in ("0.weight", "2.weight")])
    assert size[keep].min() > size[~keep].max()


def test_lenet_300_100_goes_through_the_published_sparsities():
    """Frankle & Carbin (2019) name 80.0, 64.0, 51.2, ... % of the weights left, a little more with the output layer's half rate."""
    with torch.device("meta"):
        model = lenet_300_100(*LENET)
    assert sizes(model, ImpOptions()).total == 266_610
    left = [1 - sparsity for sparsity in rounds(model, 0.9, ImpOptions())]
    assert left == pytest.approx([0.8**number for number in range(1, 11)], abs=0.005)


def test_a_rounds_sparsity_has_no_more_digits_than_exact_kappa_needs():
    assert shortest_sparsity(1000, 800) == 0.2
    assert shortest_sparsity(266_610, 213_470) == 0.199317
    assert kept_count(266_610, 0.199317) == 213_470


def test_weights_per_layer_add_up_and_never_exceed_what_is_left():
    with torch.device("meta"):
        of = sizes(lenet_300_100(*LENET), ImpOptions())
    counts = weights_per_layer(of, 1000, of.counts)
    assert sum(counts.values()) + of.biases == 1000
    tight = weights_per_layer(of, 1000, {"fc1.weight": 10, "fc2.weight": 400, "fc3.weight": 500})
    assert sum(tight.values()) + of.biases == 1000
    assert tight["fc1.weight"] == 10


@pytest.mark.parametrize("scope", ["layers", "global"])
def test_every_sparsity_that_leaves_the_biases_can_be_reached(scope):
    with torch.device("meta"):
        model = lenet_300_100(*LENET)
    for sparsity in (0.96, 0.98, 0.99, 0.998):
        found = rounds(model, sparsity, ImpOptions(scope=scope))
        assert found == sorted(set(found))
        assert found[0] > 0 and found[-1] < sparsity


def test_a_rate_that_needs_too_many_rounds_is_refused():
    with pytest.raises(ConfigError, match="in more than 200 rounds: choose a larger rate"):
        rounds(network(), 0.9, ImpOptions(rate=0.001))
    assert rounds(network(), 0.01, ImpOptions(rate=0.0004)) == sorted(
        set(rounds(network(), 0.01, ImpOptions(rate=0.0004)))
    )


@pytest.mark.parametrize("scope", ["layers", "global"])
def test_no_weight_at_all_may_be_left(scope):
    model = network()
    total, biases = sum(p.numel() for p in model.parameters()), 40
    mask = mask_of(model, 1 - biases / total, ImpOptions(scope=scope))
    assert sum(int(keep.sum()) for keep in mask.values()) == biases


def folders(top):
    return sorted(path.parent.name.rpartition("-seed")[0] for path in top.glob("*/metrics.json"))


COMMAND = [*QUICK, "method=imp", "sparsity=0.4", "seeds=2"]
NAMES = [f"imp-lenet_300_100-digits-s{s}" for s in ("0.199317", "0.35881", "0.4")]


def test_every_round_is_a_run_of_its_own_and_a_longer_chain_goes_on_from_it(tmp_path, capsys):
    assert main([*COMMAND, f"output_dir={tmp_path}"]) == 0
    assert folders(tmp_path) == [*NAMES, "reference-lenet_300_100-digits"]
    capsys.readouterr()
    assert main([*QUICK, "method=imp", "sparsity=0.45", "seeds=2", f"output_dir={tmp_path}"]) == 0
    assert capsys.readouterr().out.count(" is done already") == 3
    assert len(folders(tmp_path)) == 5


def test_training_restarts_from_the_initial_weights_of_the_reference(tmp_path):
    assert (
        main(
            [
                *COMMAND,
                "schedule.iterations=0",
                "dense_schedule.iterations=8",
                "schedule@dense_schedule=quick",
                f"output_dir={tmp_path}",
            ]
        )
        == 0
    )
    assert main([*QUICK, "sparsity=0", "schedule.iterations=0", "seeds=2", f"output_dir={tmp_path / 'initial'}"]) == 0
    [initial], [last] = (tmp_path / "initial").glob("reference-*"), tmp_path.glob("imp-*-s0.4-*")
    for seed in (0, 1):
        drawn, mask = checkpoint.load(initial).weights[seed], checkpoint.load(last).masks[seed]
        rewound = checkpoint.load(last).weights[seed]
        assert all(torch.equal(rewound[name], drawn[name] * mask[name]) for name in mask)


def test_killed_in_any_round_the_same_command_goes_on_to_the_same_bits(tmp_path):
    assert main([*COMMAND, f"output_dir={tmp_path / 'whole'}"]) == 0
    for number, name in enumerate(["reference-lenet_300_100-digits", NAMES[1]]):
        process = start([*COMMAND, f"output_dir={tmp_path / 'killed'}"])
        wait_until(lambda name=name: list((tmp_path / "killed").glob(f"{name}-seed*/checkpoint.pt")))
        process.kill()
        process.communicate()
        assert len(folders(tmp_path / "killed")) <= 2 * number + 1
    assert main([*COMMAND, f"output_dir={tmp_path / 'killed'}"]) == 0
    [one], [two] = ((tmp_path / top).glob("imp-*-s0.4-*") for top in ("whole", "killed"))
    for seed in (0, 1):
        first, second = checkpoint.load(one).weights[seed], checkpoint.load(two).weights[seed]
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_more_is_pruned_than_the_biases_leave_is_refused(tmp_path, capsys):
    assert main([*QUICK, "method=imp", "sparsity=0.999", f"output_dir={tmp_path}"]) == 2
    assert "keeps all 410 biases: choose at most 0.998" in capsys.readouterr().err


def test_the_record_names_the_sparsity_of_its_round(tmp_path):
    assert main([*QUICK, "method=imp", "sparsity=0.1", f"output_dir={tmp_path}"]) == 0
    [path] = tmp_path.glob("imp-*/metrics.json")
    metrics = json.loads(path.read_text())
    assert (metrics["sparsity_requested"], metrics["kept"]) == (0.1, 239_949)
