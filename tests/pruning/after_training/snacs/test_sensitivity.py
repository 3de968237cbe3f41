"""Sensitivity of filters, against plain loops, and which ones are protected."""

import pytest
import torch
from torch import nn

from snip_cli.pruning.after_training.connections import group_pair
from snip_cli.pruning.after_training.layer_pairs import Pair, find_pairs
from snip_cli.pruning.after_training.snacs.phi import scaled_weights
from snip_cli.pruning.after_training.snacs.sensitivity import filter_sensitivity, protected_groups


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3, padding=1), nn.Flatten(), nn.Linear(16, 3)
    )


def sensitivity_of(model, groups=0):
    pairs = find_pairs(model, torch.ones(1, 1, 2, 2))
    return filter_sensitivity(model, [group_pair(model, pair, groups) for pair in pairs])


def by_loops(weight, channels, inputs_per_channel):
    """Return the share of each channel in each output, averaged over the outputs."""
    total = torch.zeros(channels, dtype=torch.float64)
    for row in weight.flatten(2).mean(2) if weight.dim() == 4 else weight:
        for channel in range(channels):
            total[channel] += row[channel * inputs_per_channel :][:inputs_per_channel].sum() / row.sum()
    return total / len(weight)


def test_a_channels_sensitivity_is_its_mean_share_in_the_next_layers_outputs():
    model = network()
    weights = scaled_weights(model)
    sensitivity = sensitivity_of(model)
    torch.testing.assert_close(sensitivity["1"], by_loops(weights["2"], 6, 1))
    torch.testing.assert_close(sensitivity["2"], by_loops(weights["4"], 4, 4))  # through the flatten


def test_behind_the_last_layer_all_are_equal():
    assert sensitivity_of(network())["4"].tolist() == [1, 1, 1]


def test_a_groups_sensitivity_is_the_mean_of_its_channels():
    model = network()
    alone, grouped = sensitivity_of(model)["1"], sensitivity_of(model, groups=4)["1"]
    torch.testing.assert_close(grouped, alone.view(3, 2).mean(1))


def test_a_smaller_last_group_is_at_no_disadvantage():
    model = network()
    for layer in (model[1], model[2]):
        nn.init.ones_(layer.weight)
    model[0].weight.data[0] = 0.0  # so that the weights have a range to be scaled over
    grouped = sensitivity_of(model, groups=4)["1"]
    uneven = sensitivity_of(model, groups=5)["1"]
    torch.testing.assert_close(grouped, grouped[:1].expand(len(grouped)))
    torch.testing.assert_close(uneven, uneven[:1].expand(len(uneven)))


def test_a_filter_that_the_next_layer_weighs_most_is_the_most_sensitive():
    model = network()
    with torch.no_grad():
        model[2].weight[:, 4] = 2.0
    assert int(sensitivity_of(model)["1"].argmax()) == 4


def test_before_a_branch_both_next_layers_count():
    class Branched(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.a, self.b, self.c = (
                nn.Conv2d(1, 2, 1),
                nn.Conv2d(2, 4, 1),
                nn.Conv2d(4, 3, 1),
                nn.Conv2d(4, 5, 1),
            )

        def forward(self, images):
            active = self.a(self.stem(images))
            return self.b(active).sum() + self.c(active).sum()

    model = Branched()
    weights = scaled_weights(model)
    both = (3 * by_loops(weights["b"], 4, 1) + 5 * by_loops(weights["c"], 4, 1)) / 8
    torch.testing.assert_close(sensitivity_of(model)["a"], both)


def test_a_next_layer_that_takes_the_first_channels_alone_does_not_count():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 6, 1), nn.Conv2d(4, 3, 1))
    sensitivity = filter_sensitivity(model, [group_pair(model, Pair(*names), 0) for names in ("01", "12")])
    assert sensitivity["1"].tolist() == [1] * 6


def test_a_next_layer_whose_weights_are_all_the_smallest_shares_nothing():
    model = network()
    nn.init.constant_(model[2].weight, -9.0)
    assert sensitivity_of(model)["1"].tolist() == [0] * 6


def test_only_the_given_pairs_count():
    model = network()
    assert list(filter_sensitivity(model, [group_pair(model, Pair("0", "1"), 0)])) == ["1"]


VALUES = torch.tensor([0.3, 0.1, 0.4, 0.1, 0.5])


@pytest.mark.parametrize(
    ("protect", "fraction", "protected"),
    [
        ("highest", 0.4, [2, 4]),
        ("lowest", 0.4, [1, 3]),
        ("lowest", 0.2, [1]),
        ("none", 0.4, []),
        ("highest", 0.0, []),
        ("highest", 1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_as_many_groups_as_asked_for_are_protected(protect, fraction, protected):
    assert protected_groups(VALUES, protect=protect, fraction=fraction).nonzero().flatten().tolist() == protected


def test_where_all_are_equal_none_is_protected():
    assert not protected_groups(torch.ones(4), protect="highest", fraction=0.5).any()
