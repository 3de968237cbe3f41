import pytest
import torch
from torch import nn

from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import apply_mask, kept_count, layer_counts, top_mask, top_mask_of_weights
from snip_cli.runfolder.results import LayerCount

SHAPES = {"first": (5, 4), "second": (3, 2, 2), "third": (7,)}
TOTAL = 39


def scores_of(flat):
    """The 39 numbers of `flat` as scores of three parameters, in order."""
    parts = flat.split([20, 12, 7])
    return {name: part.view(shape) for (name, shape), part in zip(SHAPES.items(), parts, strict=True)}


def kept_places(mask):
    return torch.cat([keep.flatten() for keep in mask.values()]).nonzero().flatten().tolist()


def places_by_sorting(flat, kept):
    """Python's sort is stable: equal scores stay in the order of their places."""
    ranked = sorted(range(len(flat)), key=lambda place: -flat[place])
    return sorted(ranked[:kept])


def random_scores(seed):
    return torch.rand(TOTAL, generator=torch.Generator().manual_seed(seed))


def tied_scores(seed):
    return torch.randint(4, (TOTAL,), generator=torch.Generator().manual_seed(seed)).float()


def mostly_zero_scores(seed):
    scores = random_scores(seed)
    return scores * (scores > 0.9)


def equal_scores(seed):
    return torch.full((TOTAL,), float(seed))


@pytest.mark.parametrize("make", [random_scores, tied_scores, mostly_zero_scores, equal_scores])
@pytest.mark.parametrize("seed", range(4))
def test_the_mask_keeps_what_a_stable_sort_puts_first(make, seed):
    flat = make(seed)
    for kept in range(TOTAL + 1):
        assert kept_places(top_mask(scores_of(flat), kept)) == places_by_sorting(flat.tolist(), kept)


def test_ties_go_to_the_lower_index():
    assert kept_places(top_mask({"w": torch.tensor([1.0, 2.0, 1.0, 1.0, 3.0])}, 3)) == [0, 1, 4]


def test_ties_between_parameters_go_to_the_earlier_parameter():
    mask = top_mask({"later by name": torch.zeros(2), "earlier by name": torch.zeros(2)}, 3)
    assert [keep.tolist() for keep in mask.values()] == [[True, True], [True, False]]


def test_a_negative_zero_ties_with_zero():
    assert kept_places(top_mask({"w": torch.tensor([-0.0, 0.0, -1.0, 0.0])}, 2)) == [0, 1]


def test_the_mask_is_bool_and_has_the_names_and_shapes_of_the_scores():
    mask = top_mask(scores_of(random_scores(0)), 11)
    assert {name: tuple(keep.shape) for name, keep in mask.items()} == SHAPES
    assert all(keep.dtype == torch.bool for keep in mask.values())


def test_a_mask_of_weights_keeps_every_bias_whatever_its_score():
    scores = {"w": torch.tensor([[3.0, 1.0], [2.0, 0.0]]), "b": torch.tensor([-5.0, 9.0]), "v": torch.tensor([[2.5]])}
    for kept, places in ((2, []), (3, [0]), (5, [0, 2, 6]), (7, [0, 1, 2, 3, 6])):
        mask = top_mask_of_weights(scores, kept)
        assert list(mask) == ["w", "b", "v"]
        assert kept_places(mask) == sorted([*places, 4, 5])


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_a_score_that_is_not_finite_is_refused_by_the_name_of_its_parameter(wrong):
    scores = scores_of(random_scores(0))
    scores["second"][1, 0, 1] = wrong
    with pytest.raises(RunError, match="second"):
        top_mask(scores, 5)


@pytest.mark.parametrize(
    ("total", "sparsity", "kept"),
    [
        (266_610, 0.9, 26_661),
        (266_610, 0.95, 13_331),
        (266_610, 0.98, 5_332),
        (431_080, 0.9, 43_108),
        (431_080, 0.98, 8_622),
        (431_080, 0.99, 4_311),
        (266_610, 0.0, 266_610),
        (266_610, 0, 266_610),
        (5, 0.5, 2),
        (7, 0.5, 4),
    ],
)
def test_kappa_is_rounded_as_in_the_released_code(total, sparsity, kept):
    assert kept_count(total, sparsity) == kept == int(round(total * (1 - sparsity)))  # noqa: RUF046


@pytest.mark.parametrize("sparsity", [1.0, 1, -0.1, 1.5, float("nan"), True, "abc", None])
def test_a_sparsity_outside_zero_to_one_is_refused(sparsity):
    with pytest.raises(ConfigError, match=r"^sparsity must be a number in \[0, 1\)"):
        kept_count(1000, sparsity)


def test_a_sparsity_that_keeps_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"keeps none of the 1,000 parameters: choose at most 0\.999\."):
        kept_count(1000, 0.9999)


def test_the_highest_sparsity_that_the_refusal_names_keeps_something():
    for total in [*range(1, 200), 266_610, 431_080, 10_958_666]:
        with pytest.raises(ConfigError) as refusal:
            kept_count(total, 1 - 1e-12)
        assert kept_count(total, float(str(refusal.value).split()[-1].rstrip("."))) >= 1


def test_all_weights_come_before_all_biases_and_batch_norm_is_left_out():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv1d(2, 2, 1), nn.Flatten(), nn.Linear(4, 3))
    assert list(prunable_parameters(model)) == ["0.weight", "2.weight", "4.weight", "0.bias", "2.bias", "4.bias"]


def test_recurrent_layers_are_pruned_with_both_weights_and_both_biases():
    model = nn.ModuleDict({"rnn": nn.LSTM(3, 2), "cell": nn.GRUCell(3, 2)})
    kinds = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    weights = [f"rnn.{kind}_l0" for kind in kinds[:2]] + [f"cell.{kind}" for kind in kinds[:2]]
    biases = [f"rnn.{kind}_l0" for kind in kinds[2:]] + [f"cell.{kind}" for kind in kinds[2:]]
    assert list(prunable_parameters(model)) == weights + biases


def test_a_layer_that_is_the_whole_model_is_prunable():
    assert list(prunable_parameters(nn.Linear(3, 2))) == ["weight", "bias"]


def test_a_frozen_parameter_is_left_out():
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    assert list(prunable_parameters(model)) == ["bias"]


def test_a_parameter_that_two_layers_share_counts_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert list(prunable_parameters(model)) == ["0.weight", "0.bias", "1.bias"]


def test_applying_a_mask_zeroes_the_pruned_and_only_them():
    model = nn.Linear(3, 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    mask = {"weight": torch.tensor([[True, False, True], [False, False, True]])}
    apply_mask(model, mask)
    assert torch.equal(model.weight, before["weight"] * mask["weight"])
    assert torch.equal(model.bias, before["bias"])


@pytest.mark.parametrize(
    "mask", [{"weight": torch.ones(3, 2, dtype=torch.bool)}, {"other.weight": torch.ones(2, 3, dtype=torch.bool)}]
)
def test_a_mask_of_another_architecture_is_refused_by_name(mask):
    with pytest.raises(ConfigError, match=f"does not fit the model at '{next(iter(mask))}'"):
        apply_mask(nn.Linear(3, 2), mask)


def test_layer_counts_join_a_layers_weights_and_biases_in_the_models_order():
    mask = {
        "fc1.weight": torch.tensor([[True, False], [True, True]]),
        "fc2.weight": torch.tensor([[False, False]]),
        "fc1.bias": torch.tensor([False, True]),
        "fc2.bias": torch.tensor([False]),
    }
    assert layer_counts(mask) == [LayerCount("fc1", 6, 4), LayerCount("fc2", 3, 0)]
