"""Which seeds train together, and in which form."""

import pytest
import torch

from snip_cli.composition import composer
from snip_cli.config import load
from snip_cli.errors import ConfigError
from snip_cli.group import ALONE, Group
from snip_cli.stages import weightless_model
from snip_cli.training.choice import at_once, companies

CPU = torch.device("cpu")


def number(*overrides, device=CPU, group=ALONE):
    with composer(None) as compose:
        config = load(compose.compose(overrides))
    return at_once(config, weightless_model(config), device, group)


def at(iteration):
    return {"state": {"progress": {"iteration": iteration}}}


def test_seeds_that_stand_at_the_same_iteration_train_together():
    assert companies([0, 1, 2, 3], {}, 20) == [[0, 1, 2, 3]]
    assert companies([0, 1, 2, 3], {1: at(5), 3: at(5)}, 20) == [[0, 2], [1, 3]]
    assert companies([0, 1, 2], {}, 2) == [[0, 1], [2]]
    assert companies([0, 1, 2], {0: at(5)}, 1) == [[0], [1], [2]]


@pytest.mark.parametrize("model", ["lenet_300_100", "lenet_5_caffe", "lstm_b", "gru_s"])
def test_small_networks_can_train_together(model):
    assert number(f"model={model}", "replicates=together") > 1
    assert number(f"model={model}", "replicates=apart") == 1


def test_auto_trains_convolutions_apart_on_a_processor():
    assert number("model=lenet_5_caffe") == 1
    assert number("model=lenet_5_caffe", device=torch.device("cuda")) > 1
    assert number("model=lenet_300_100") > 1


@pytest.mark.parametrize(
    "overrides, group",
    [
        (["model=vgg_d", "dataset=cifar10"], ALONE),
        (["dtype=bfloat16"], ALONE),
        (["compile=true"], ALONE),
        ([], Group(0, 2)),
    ],
    ids=["batch-norm", "bfloat16", "compiled", "two processes"],
)
def test_what_cannot_train_together_trains_apart_and_says_so_where_it_was_asked_for(overrides, group):
    assert number(*overrides, group=group) == 1
    with pytest.raises(ConfigError, match="use replicates=auto"):
        number(*overrides, "replicates=together", group=group)
