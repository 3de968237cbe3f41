"""SynFlow against its formula, its conservation law, and its rounds written out."""

import copy
import itertools

import pytest
import torch
from torch import nn

import snip_cli
from snip_cli.commands.snip_run import main
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.at_init.synflow import SIGNAL, SynflowOptions, synaptic_flow
from snip_cli.pruning.mask import top_mask
from tests.conftest import convolution, perceptron
from tests.snip_run import QUICK


@pytest.fixture(params=[perceptron, convolution], ids=["perceptron", "convolution"])
def network(request):
    torch.manual_seed(1)
    return request.param().double()


def half(model):
    generator = torch.Generator().manual_seed(7)
    weights = {name: p for name, p in prunable_parameters(model).items() if p.dim() > 1}
    return {name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in weights.items()}


def full(model):
    return {name: torch.ones_like(keep) for name, keep in half(model).items()}


def never(outputs, labels):
    raise AssertionError("a method without data computed the loss")


@pytest.mark.parametrize("masked", [False, True])
def test_the_scores_of_every_layer_add_up_to_the_flow(masked, network, batch):
    """Layer-wise conservation, also of what earlier rounds have left, with biases and batch-norm statistics that are not zero."""
    mask = half(network) if masked else full(network)
    scores = synaptic_flow(network, batch[0], mask)
    sums = [float(score.sum()) for score in scores.values()]
    flow = linear_flow(network, mask)
    assert flow > 0
    assert [each / SIGNAL for each in sums] == pytest.approx([flow] * len(sums), rel=1e-12)
    assert all(not scores[name][~keep].any() for name, keep in mask.items())


def linear_flow(network, mask):
    """R: the sum of outputs for ones, of the layers with absolute weights and without anything that shifts."""
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.abs_()
            if name.endswith("bias"):
                parameter.zero_()
            if name in mask:
                parameter.mul_(mask[name])
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.zero_()
        return float(network(torch.ones(1, 1, 8, 8, dtype=torch.float64)).sum())


def test_biases_that_are_not_pruned_are_not_in_the_flow_either(network, batch):
    expected = snip_cli.prune(network, batch, never, method="synflow", sparsity=0.5, prunable=["*weight"])
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.add_(3.0).requires_grad_(False)
    found = snip_cli.prune(network, batch, never, method="synflow", sparsity=0.5, prunable=["*weight"])
    assert list(found) == list(expected) and not all(keep.all() for keep in found.values())
    assert all(torch.equal(found[name], keep) for name, keep in expected.items())


def test_the_score_of_a_weight_is_the_sum_over_the_paths_through_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    first, second, third = (layer.weight.detach().abs() for layer in (model[0], model[2], model[4]))
    scores = synaptic_flow(model, torch.randn(9, 5), full(model))
    into, out = first.sum(dim=1), third.sum(dim=0)
    expected = second * out[:, None] * into[None, :]
    torch.testing.assert_close(scores["2.weight"] / SIGNAL, expected, rtol=1e-13, atol=0)


def test_it_prunes_100_times_along_an_exponential_schedule(network, batch):
    sparsity = 0.9
    parameters = prunable_parameters(network)
    biases = sum(p.numel() for p in parameters.values() if p.dim() == 1)
    weights = sum(p.numel() for p in parameters.values()) - biases
    kept = round((weights + biases) * (1 - sparsity)) - biases
    mask = full(network)
    for number in range(1, 101):
        scores = synaptic_flow(network, batch[0], mask)
        mask = top_mask(scores, round(weights * (kept / weights) ** (number / 100)))
    assert SynflowOptions().rounds == 100
    found = snip_cli.prune(network, batch, never, method="synflow", sparsity=sparsity)
    assert all(torch.equal(found[name], keep) for name, keep in mask.items())
    assert all(keep.all() for name, keep in found.items() if name not in mask)
    once = snip_cli.prune(network, batch, never, method="synflow", sparsity=sparsity, rounds=1)
    assert not all(torch.equal(found[name], once[name]) for name in found)


def test_neither_images_nor_labels_nor_signs_matter(network, batch):
    mask = snip_cli.prune(network, batch, never, method="synflow", sparsity=0.8)
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data *= torch.rand(parameter.shape).sub(0.5).sign()
    images, labels = torch.randn(3, 1, 8, 8, dtype=torch.float64), torch.zeros(3).long()
    assert all(
        torch.equal(keep, mask[name])
        for name, keep in snip_cli.prune(other, (images, labels), never, method="synflow", sparsity=0.8).items()
    )


def test_no_layer_is_cut_off_down_to_one_path():
    torch.manual_seed(0)
    sizes = [30, 200, 50, 10, 200, 4]
    layers = [nn.Linear(*pair, bias=False) for pair in itertools.pairwise(sizes)]
    model = nn.Sequential(*(each for layer in layers for each in (layer, nn.ReLU())))
    total = sum(p.numel() for p in model.parameters())
    batch = torch.randn(4, 30), torch.zeros(4).long()
    for kept in (5, 20):
        mask = snip_cli.prune(model, batch, never, method="synflow", sparsity=1 - kept / total, rounds=100)
        assert sum(int(keep.sum()) for keep in mask.values()) == kept
        assert all(keep.any() for keep in mask.values())


def test_scores_of_a_deep_network_in_single_precision_do_not_overflow():
    torch.manual_seed(0)
    model = nn.Sequential(*(each for _ in range(40) for each in (nn.Linear(32, 32), nn.ReLU())))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=5.0)
    scores = synaptic_flow(model, torch.randn(2, 32), full(model))
    sums = torch.stack([score.sum() for score in scores.values()])
    assert sums.dtype == torch.float64 and float(sums[0] / SIGNAL) > torch.finfo(torch.float32).max
    torch.testing.assert_close(sums, sums[:1].expand(40), rtol=1e-11, atol=0)


def test_an_activation_that_is_bounded_passes_the_flow_on():
    torch.manual_seed(0)

    def net(activation):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(30, 90), activation, nn.Linear(90, 90), activation, nn.Linear(90, 3))

    model = net(nn.ReLU6())
    scores = synaptic_flow(model, torch.randn(2, 30), full(model))
    expected = synaptic_flow(net(nn.ReLU()), torch.randn(2, 30), full(model))
    assert all(torch.equal(scores[name], score) for name, score in expected.items())


def test_weights_that_two_layers_share_and_inputs_that_are_whole_numbers():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.out = nn.Embedding(20, 6), nn.Linear(6, 20)
            self.out.weight = self.words.weight

        def forward(self, tokens):
            return self.out(self.words(tokens).mean(dim=1))

    mask = snip_cli.prune(Words(), (torch.randint(20, (5, 7)), torch.zeros(5)), never, method="synflow", sparsity=0.5)
    assert sum(int(keep.sum()) for keep in mask.values()) == 70


MISFITS = {
    "recurrent": lambda: nn.LSTM(8, 4),
    "attention": lambda: nn.TransformerEncoderLayer(8, 2, 8),
    "layer norm": lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)),
    "group norm": lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4)),
    "no statistics": lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, track_running_stats=False)),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_model_that_does_not_pass_signals_on_is_refused_in_one_sentence(case):
    with pytest.raises(ConfigError, match=r"method 'synflow' does not fit this model: its layer '.*' \(") as refusal:
        snip_cli.prune(MISFITS[case](), (torch.randn(4, 8), torch.zeros(4)), never, method="synflow", sparsity=0.5)
    assert "\n" not in str(refusal.value)


def test_a_run_refuses_such_a_model_before_any_work(tmp_path, capsys):
    command = ["method=synflow", "model=lstm_s", "sparsity=0.5", f"output_dir={tmp_path}"]
    assert main([*QUICK, *command]) == 2
    assert "method 'synflow' does not fit this model: its layer 'recurrent' (LSTM)" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("rounds", [1, 2, 100])
def test_where_the_biases_are_all_that_is_kept_no_weight_is(rounds, network, batch):
    parameters = prunable_parameters(network)
    biases = sum(p.numel() for p in parameters.values() if p.dim() == 1)
    sparsity = 1 - biases / sum(p.numel() for p in parameters.values())
    found = snip_cli.prune(network, batch, never, method="synflow", sparsity=sparsity, rounds=rounds)
    assert all(keep.all() if keep.dim() == 1 else not keep.any() for keep in found.values())


def test_fewer_weights_than_a_path_has_are_refused_with_the_remedy(network, batch):
    parameters = prunable_parameters(network)
    biases = sum(p.numel() for p in parameters.values() if p.dim() == 1)
    sparsity = 1 - (biases + 1) / sum(p.numel() for p in parameters.values())
    with pytest.raises(RunError, match=r"no longer connects input and output\. Choose a lower sparsity\.$"):
        snip_cli.prune(network, batch, never, method="synflow", sparsity=sparsity)


def test_a_network_of_zeros_has_no_flow(network, batch):
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(RunError, match=r"The synaptic flow is zero, .*: choose another init"):
        snip_cli.prune(network, batch, never, method="synflow", sparsity=0.5)
