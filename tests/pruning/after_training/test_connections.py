"""Groups of channels, and the connections between them as groups of weights."""

import pytest
import torch
from torch import nn

from snip_cli.pruning.after_training.connections import GroupedPair, connection_mask, group_bounds, group_pair
from snip_cli.pruning.after_training.layer_pairs import Pair


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.Flatten(), nn.Linear(6 * 4, 5), nn.Linear(5, 3)
    )


PAIRS = [Pair("0", "1"), Pair("1", "3"), Pair("3", "4")]


def test_every_weight_belongs_to_one_connection():
    model = network()
    for pair in PAIRS:
        for groups in (0, 1, 2, 3, 64):
            found = group_pair(model, pair, groups)
            assert (
                int(found.weight_counts(model.get_submodule(pair.child).weight).sum())
                == model.get_submodule(pair.child).weight.numel()
            )


def test_removing_a_connection_masks_the_weights_between_its_groups():
    model = network()
    found = group_pair(model, Pair("0", "1"), 2)  # children (0, 3), (3, 6); parents (0, 2), (2, 4)
    keep = torch.tensor([[True, False], [True, True]])
    wanted = torch.ones(6, 4, 3, 3, dtype=torch.bool)
    wanted[0:3, 2:4] = False
    weight = model[1].weight
    assert torch.equal(found.mask(keep, weight), wanted)
    assert int((~wanted).sum()) == int(found.weight_counts(weight)[0, 1])


def test_behind_a_flatten_a_channels_inputs_go_together():
    model = network()
    found = group_pair(model, Pair("1", "3"), 3)
    assert found.inputs == 4
    keep = torch.ones(3, 3, dtype=torch.bool)
    keep[2, 1] = False  # the last group of children is one unit, the parents are channels 2 and 3
    wanted = torch.ones(5, 24, dtype=torch.bool)
    wanted[4, 8:16] = False
    assert torch.equal(found.mask(keep, model[3].weight), wanted)


def test_what_belongs_to_no_connection_is_kept():
    model = network()
    found = group_pair(model, Pair("3", "4"), 0)
    mask = connection_mask(model, {"4": torch.zeros(3, 5, dtype=torch.bool)}, [found])
    assert set(mask) == {name for name, _ in model.named_parameters()}
    assert not mask["4.weight"].any()
    assert all(keep.all() for name, keep in mask.items() if name != "4.weight")


@pytest.mark.parametrize(
    ("channels", "groups", "bounds"),
    [
        (4, 2, [(0, 2), (2, 4)]),
        (5, 2, [(0, 3), (3, 5)]),
        (3, 0, [(0, 1), (1, 2), (2, 3)]),
        (3, 3, [(0, 1), (1, 2), (2, 3)]),
        (3, 64, [(0, 1), (1, 2), (2, 3)]),
        (10, 4, [(0, 3), (3, 6), (6, 9), (9, 10)]),
        (9, 4, [(0, 3), (3, 6), (6, 9)]),  # three blocks of ⌈9 / 4⌉ are all
        (7, 1, [(0, 7)]),
        (1, 1, [(0, 1)]),
    ],
)
def test_groups_are_consecutive_blocks_of_one_size_and_a_last_that_may_be_smaller(channels, groups, bounds):
    assert group_bounds(channels, groups) == bounds


def test_every_channel_is_in_one_group():
    for channels in range(1, 40):
        for groups in range(45):
            blocks = [range(*bound) for bound in group_bounds(channels, groups)]
            assert [channel for block in blocks for channel in block] == list(range(channels))
            assert len(blocks) <= (groups or channels)


@pytest.mark.parametrize(("shape", "inputs"), [((5, 7, 3, 3), 1), ((5, 7, 1, 1), 1), ((5, 7), 1), ((5, 28), 4)])
@pytest.mark.parametrize(("children", "parents"), [(0, 0), (2, 3), (1, 1), (5, 2)])
def test_sums_and_means_are_those_of_each_block(shape, inputs, children, parents):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grouped = GroupedPair(Pair("a", "b"), group_bounds(5, children), group_bounds(7, parents), inputs)
    sums, means = grouped.block_sums(weight), grouped.block_means(weight)
    assert sums.shape == means.shape == (len(grouped.child_bounds), len(grouped.parent_bounds))
    for j, (first, last) in enumerate(grouped.child_bounds):
        for i, (start, end) in enumerate(grouped.parent_bounds):
            block = weight[first:last, start * inputs : end * inputs]
            torch.testing.assert_close(sums[j, i], block.sum())
            torch.testing.assert_close(means[j, i], block.mean())
