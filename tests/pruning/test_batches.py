"""What a batch is, and what prune() says of everything else that it is given."""

import re
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import snip_cli
from snip_cli.errors import ConfigError
from snip_cli.pruning.batches import Batches, describe, read_batches

X, Y = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 4


class TwoTowers(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, first, second=None, *, scale=1.0):
        return self.left(first) + (0 if second is None else scale * self.right(second))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TwoTowers()


def sensitivity_of(model, *arguments, **named):
    """|w ∂L/∂w| by hand, summed to one over all parameters."""
    parameters = dict(model.named_parameters())
    loss = F.cross_entropy(model(*arguments, **named), LABELS)
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return {n: (p.detach() * g).abs() for (n, p), g in zip(parameters.items(), gradients, strict=True)}


def keeps_the_highest(mask, scores):
    lowest = min(score[mask[name]].min() for name, score in scores.items() if mask[name].any())
    highest = max(score[~mask[name]].max() for name, score in scores.items() if not mask[name].all())
    return bool(lowest >= highest)


Pair = namedtuple("Pair", "first second")

ONE_BATCH = {
    "a tuple of inputs": (((X, Y), LABELS), {"second": Y}),
    "a list of inputs, as a DataLoader gives it": ([[X, Y], LABELS], {"second": Y}),
    "a named tuple": ((Pair(X, Y), LABELS), {"second": Y}),
    "two rows": (((X[:2], Y[:2]), LABELS[:2]), None),
    "a dictionary": (({"first": X, "second": Y, "scale": 2.0}, LABELS), {"second": Y, "scale": 2.0}),
    "an input of None": (((X, None), LABELS), {}),
    "a list of one batch": ([((X, Y), LABELS)], {"second": Y}),
    "an iterator": (iter([((X, Y), LABELS)]), {"second": Y}),
    "one tensor": ((X, LABELS), {}),
}


@pytest.mark.parametrize("case", ONE_BATCH)
def test_a_model_of_several_inputs_is_called_with_all_of_them(case, model):
    batch, named = ONE_BATCH[case]
    mask = snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.6)
    assert sum(int(keep.sum()) for keep in mask.values()) == round(72 * 0.4)
    if named is not None:
        assert keeps_the_highest(mask, sensitivity_of(model, X, **named))
        assert mask["right.weight"].any() == ("second" in named)


SEVERAL = {
    "a list of tuples": [((X, Y), LABELS), ((Y, X), LABELS)],
    "a list of lists": [[[X, Y], LABELS], [[Y, X], LABELS]],
    "of dictionaries": [({"first": X, "second": Y}, LABELS), ({"first": Y, "second": X}, LABELS)],
    "a generator": (pair for pair in [((X, Y), LABELS), ((Y, X), LABELS)]),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_several_batches_are_told_from_several_inputs(case):
    batches = list(read_batches(SEVERAL[case]))
    assert len(batches) == 2
    assert all(batch[1] is LABELS for batch in batches)


def test_two_batches_of_one_input_are_a_list():
    assert len(list(read_batches([(X, LABELS), (Y, LABELS)]))) == 2
    assert len(list(read_batches([[X, LABELS], [Y, LABELS]]))) == 2


def test_labels_may_be_anything_that_the_loss_takes(model):
    def mixed(outputs, labels):
        return F.cross_entropy(outputs, labels[0]) + F.cross_entropy(outputs, labels[1])

    def labelless(outputs, labels):
        return outputs.square().mean()

    assert snip_cli.prune(model, (X, (LABELS, LABELS.flip(0))), mixed)
    assert snip_cli.prune(model, ({"first": X}, {"labels": LABELS}), lambda o, y: F.cross_entropy(o, y["labels"]))
    assert snip_cli.prune(model, ({"first": X}, None), labelless)


@pytest.mark.parametrize("method", ["snip", "snacs"])
def test_a_data_loader_is_an_iterable_of_batches(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    loader = DataLoader(TensorDataset(torch.cat([X, Y]), torch.cat([LABELS, LABELS])), batch_size=6)
    masks = [
        snip_cli.prune(model, batches, F.cross_entropy, method=method, sparsity=0.3)
        for batches in (loader, list(loader), iter(loader))
    ]
    assert all(torch.equal(masks[0][name], mask[name]) for mask in masks for name in mask)


REFUSED = {
    "nothing": ([], "There is no batch"),
    "an empty iterable": (iter([]), "There is no batch"),
    "three tensors": ((X, Y, LABELS), r"A batch cannot be a tensor of shape \(6, 8\)"),
    "a tensor": (X, r"A batch cannot be a tensor of shape \(6, 8\), float32 on cpu"),
    "a dictionary with labels": ({"first": X, "labels": LABELS}, "A batch cannot be a dictionary of first: a tensor"),
    "inputs without labels": ((X,), r"A batch cannot be a tensor"),
    "numbers": ([([1, 2], 3)], "A batch cannot be a tuple of a list of a value of type int"),
    "an array": ((X.numpy(), LABELS), "A batch cannot be a value of type ndarray"),
    "None": (None, "A batch cannot be None"),
    "a file": ("batch.pt", "A batch cannot be a value of type str"),
    "what can be two batches or one": (((X, Y), (X, LABELS)), r"can be read as two batches.*\[first, second\]"),
    "a dictionary without names": (({0: X}, LABELS), "A batch cannot be a dictionary"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused_in_one_sentence(case, model):
    batch, said = REFUSED[case]
    with pytest.raises(ConfigError, match=said) as refusal:
        snip_cli.prune(model, batch, F.cross_entropy)
    assert "\n" not in str(refusal.value)


def test_an_iterable_that_turns_out_empty_is_refused():
    with pytest.raises(ConfigError, match="There is no batch"):
        list(Batches([]))


def test_methods_that_compare_layers_refuse_a_model_of_several_inputs(model):
    for method in ("snacs", "mint", "l1_filter"):
        with pytest.raises(ConfigError, match="models that take one tensor, but the inputs are a tuple"):
            snip_cli.prune(model, ((X, Y), LABELS), F.cross_entropy, method=method)


def test_a_model_that_works_in_place_does_not_change_the_batch():
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 4))
    before = X.clone()
    snip_cli.prune(model, (X, LABELS), F.cross_entropy)
    assert torch.equal(X, before)


def test_a_long_description_is_cut():
    assert describe([X[0, 0]] * 5).count("a tensor") == 3
    assert re.fullmatch(r"a list of .*; …", describe([X[0, 0]] * 5))
