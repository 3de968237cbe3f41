"""Pairs of layers: as many as the authors' code lists for the networks of SNACS, and consecutive layers in others."""

import itertools

import pytest
import torch
from torch import nn

from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.layer_pairs import Pair, find_pairs, inputs_per_channel, parent_channels


def built(name, shape=(3, 32, 32), classes=10):
    """Return the network on the meta device, and an image for it."""
    with torch.device("meta"):
        return registry.models[name](shape, classes), torch.empty(1, *shape)


def names(pairs):
    return [(pair.parent, pair.child) for pair in pairs]


@pytest.mark.parametrize(
    ("name", "which", "count"),
    [
        ("vgg16", "all", 14),
        ("vgg16", "published", 14),
        ("resnet56", "all", 55),
        ("resnet56", "published", 55),
        ("resnet50", "all", 53),
        ("resnet50", "published", 47),
        ("mobilenet_v2", "all", 35),
    ],
)
def test_the_networks_of_snacs_have_as_many_pairs_as_the_authors_list(name, which, count):
    model, example = built(name)
    assert len(find_pairs(model, example, which=which)) == count


@pytest.mark.parametrize("name", ["vgg16", "resnet56"])
def test_without_branches_the_pairs_are_one_chain_from_the_first_layer_to_the_last(name):
    model, example = built(name)
    layers = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert names(find_pairs(model, example)) == list(itertools.pairwise(layers))


@pytest.mark.parametrize(
    "name", ["vgg16", "resnet56", "resnet50", "mobilenet_v2", "wrn_16_8", "alexnet_s", "lenet_5_caffe"]
)
def test_a_parents_channels_feed_all_inputs_of_the_child(name):
    model, example = built(name)
    for pair in find_pairs(model, example):
        parent, child = (model.get_submodule(layer) for layer in (pair.parent, pair.child))
        assert parent_channels(model, pair) == parent.weight.shape[0]
        assert parent_channels(model, pair) * inputs_per_channel(model, pair) == child.weight.shape[1]


def test_the_convolution_of_a_shortcut_has_the_parent_of_its_blocks_first():
    model, example = built("resnet50")
    parents = {pair.child: pair.parent for pair in find_pairs(model, example)}
    assert parents["layer1.0.downsample.0"] == parents["layer1.0.conv1"] == "conv1"
    assert parents["layer3.0.downsample.0"] == parents["layer3.0.conv1"] == "layer2.3.conv3"
    assert parents["layer2.1.conv1"] == "layer2.0.downsample.0"  # which ran after the main path


def test_a_shortcut_that_runs_first_is_not_the_parent_of_its_blocks_first():
    model, example = built("wrn_16_8")
    parents = {pair.child: pair.parent for pair in find_pairs(model, example)}
    assert parents["blocks.2.projection"] == parents["blocks.2.conv1"] == "blocks.1.conv2"


def test_the_published_list_of_resnet50_lacks_the_first_block_and_the_classifier():
    model, example = built("resnet50")
    pairs = names(find_pairs(model, example, which="published"))
    assert pairs[0] == ("layer1.1.conv1", "layer1.1.conv2")
    assert pairs[-1] == ("layer4.2.conv2", "layer4.2.conv3")


def test_in_the_published_list_a_shortcuts_convolution_takes_the_first_channels_of_the_layer_before_it():
    model, example = built("resnet50")
    pair = Pair("layer2.0.conv3", "layer2.0.downsample.0")
    assert pair in find_pairs(model, example, which="published")
    assert (parent_channels(model, pair), inputs_per_channel(model, pair)) == (256, 1)  # of 512


def test_depthwise_convolutions_are_passed_through():
    model, example = built("mobilenet_v2")
    pairs = names(find_pairs(model, example))
    assert pairs[0] == ("features.0.0", "features.1.conv.1")
    assert ("features.2.conv.0.0", "features.2.conv.2") in pairs
    depthwise = {name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d) and layer.groups > 1}
    assert not depthwise & {name for pair in pairs for name in pair}


def test_after_a_flatten_a_channel_feeds_its_pixels():
    model, example = built("lenet_5_caffe", (1, 28, 28))
    assert inputs_per_channel(model, Pair("conv2", "fc1")) == 16
    assert parent_channels(model, Pair("conv2", "fc1")) == 50
    assert Pair("conv2", "fc1") in find_pairs(model, example)


def test_layers_stand_in_the_order_in_which_they_run_and_unused_ones_nowhere():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.unused, self.first = nn.Linear(5, 2), nn.Linear(5, 5), nn.Linear(3, 5)

        def forward(self, images):
            return self.last(self.first(images.flatten(1)))

    assert find_pairs(Backwards(), torch.ones(1, 3, 1, 1)) == [Pair("first", "last")]


def test_a_layer_behind_a_concatenation_has_no_pair():
    class Concatenated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (
                nn.Conv2d(1, 2, 1),
                nn.Conv2d(2, 3, 1),
                nn.Conv2d(5, 4, 1),
                nn.Conv2d(4, 1, 1),
            )

        def forward(self, images):
            first = self.a(images)
            return self.d(self.c(torch.cat([first, self.b(first)], 1)))

    assert names(find_pairs(Concatenated(), torch.ones(1, 1, 2, 2))) == [("a", "b"), ("c", "d")]


def test_a_frozen_layer_can_be_a_parent_but_no_child():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    assert names(find_pairs(model, torch.ones(1, 1, 2, 2))) == [("2", "3")]


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1))
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    find_pairs(model, torch.ones(1, 1, 2, 2))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "no two consecutive"),
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "no two consecutive"),
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "'0' runs at several places"),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1, groups=2)), "'1' is a grouped convolution"),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.ConvTranspose2d(4, 4, 1)), "'1' is of kind ConvTranspose2d"),
        (nn.Sequential(nn.Flatten(), *[nn.Linear(4, 4)] * 2), "'1' runs more than once"),
    ],
)
def test_a_network_that_cannot_be_compared_is_refused_in_one_sentence(model, complaint):
    with pytest.raises(ConfigError, match=rf"{complaint}.*: choose another model, or method=snip\.$"):
        find_pairs(model, torch.ones(1, 1, 2, 2))


def test_a_recurrent_network_is_refused_by_the_name_of_its_layer():
    model, example = built("lstm_s", (1, 28, 28))
    with pytest.raises(ConfigError, match="'recurrent' is of kind LSTM"):
        find_pairs(model, example)
