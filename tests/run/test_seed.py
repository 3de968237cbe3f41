"""What is told of a mask before the training: which layers it cuts off, and whether that cuts the network through."""

import pytest
import torch
from torch import nn

from snip_cli.pruning.method import Pruned
from snip_cli.pruning.pruner import Pruner
from snip_cli.run.seed import PreparedSeed
from snip_cli.training.choice import Replicate


def start(kept, effective):
    """A start of layers of ten weights, of which so many are kept and so many on a path, each by the layer's name."""
    mask = {f"{name}.weight": torch.arange(10) < count for name, count in kept.items()}
    return PreparedSeed(Replicate(7, nn.Identity(), Pruner()), Pruned(mask), 0.0, effective)


@pytest.fixture
def said(caplog):
    def said(kept, effective):
        start(kept, effective).warn_if_collapsed()
        return [record.getMessage() for record in caplog.records]

    return said


def test_nothing_is_told_where_a_path_leads_through_every_layer(said):
    assert said({"a": 3, "b": 2}, {"a": 1, "b": 1}) == []


def test_a_layer_that_is_cut_off_is_told_though_something_of_it_is_kept(said):
    [sentence] = said({"a": 3, "b": 2, "c": 0}, {"a": 1, "b": 0, "c": 0})
    assert sentence == "seed 7: no kept path from input to output passes these layers: b (2 kept), c (0 kept)"


def test_a_network_that_is_cut_through_is_told(said):
    [sentence] = said({"a": 3, "b": 0}, {"a": 0, "b": 0})
    assert sentence == (
        "seed 7: no kept path connects input and output, so the network gives every input the same answer: a (3 kept), b (0 kept); "
        "it is trained all the same: stop it, and lower sparsity or choose another method or init"
    )


def test_where_the_paths_are_not_known_the_layers_are_told_that_lost_everything(said):
    [sentence] = said({"a": 3, "b": 0}, None)
    assert sentence.endswith("passes these layers: b (0 kept)")
    assert start({"a": 3, "b": 0}, None).effective_kept is None


def test_of_many_layers_the_first_are_named(said):
    names = [f"conv{i}" for i in range(20)]
    [sentence] = said(dict.fromkeys(names, 1) | {"fc": 5}, dict.fromkeys(names, 0) | {"fc": 5})
    assert "conv0 (1 kept), conv1" in sentence
    assert sentence.endswith("conv5 (1 kept) and 14 more")
