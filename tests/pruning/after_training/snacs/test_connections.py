"""The connections of a pair as groups of weights."""

import torch
from torch import nn

from snip_cli.pruning.after_training.snacs.connections import connection_mask, connections
from snip_cli.pruning.after_training.snacs.pairs import Pair


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.Flatten(), nn.Linear(6 * 4, 5), nn.Linear(5, 3)
    )


PAIRS = [Pair("0", "1"), Pair("1", "3"), Pair("3", "4")]


def test_every_weight_belongs_to_one_connection():
    model = network()
    for pair in PAIRS:
        for groups in (0, 1, 2, 3, 64):
            found = connections(model, pair, groups)
            assert (
                int(found.weights(model.get_submodule(pair.child).weight).sum())
                == model.get_submodule(pair.child).weight.numel()
            )


def test_removing_a_connection_masks_the_weights_between_its_groups():
    model = network()
    found = connections(model, Pair("0", "1"), 2)  # children (0, 3), (3, 6); parents (0, 2), (2, 4)
    keep = torch.tensor([[True, False], [True, True]])
    wanted = torch.ones(6, 4, 3, 3, dtype=torch.bool)
    wanted[0:3, 2:4] = False
    weight = model[1].weight
    assert torch.equal(found.mask(keep, weight), wanted)
    assert int((~wanted).sum()) == int(found.weights(weight)[0, 1])


def test_behind_a_flatten_a_channels_inputs_go_together():
    model = network()
    found = connections(model, Pair("1", "3"), 3)
    assert found.inputs == 4
    keep = torch.ones(3, 3, dtype=torch.bool)
    keep[2, 1] = False  # the last group of children is one unit, the parents are channels 2 and 3
    wanted = torch.ones(5, 24, dtype=torch.bool)
    wanted[4, 8:16] = False
    assert torch.equal(found.mask(keep, model[3].weight), wanted)


def test_what_belongs_to_no_connection_is_kept():
    model = network()
    found = connections(model, Pair("3", "4"), 0)
    mask = connection_mask(model, {"4": torch.zeros(3, 5, dtype=torch.bool)}, [found])
    assert set(mask) == {name for name, _ in model.named_parameters()}
    assert not mask["4.weight"].any()
    assert all(keep.all() for name, keep in mask.items() if name != "4.weight")
