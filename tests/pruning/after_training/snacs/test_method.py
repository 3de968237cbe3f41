"""The method as a whole: which images the network runs on, how often, and what the warnings say."""

import logging

import pytest
import torch
from torch import nn

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs import method
from snip_cli.pruning.after_training.snacs.probe import input_means
from snip_cli.pruning.method import Request, find_method
from snip_cli.pruning.prune import run_method

CLASSES = 3


def network():
    torch.manual_seed(3)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(True), nn.Flatten()),
        *(nn.Linear(128, 7), nn.ReLU(), nn.Linear(7, CLASSES)),
    ).double()


def sample():
    labels = torch.arange(90) % CLASSES
    images = torch.randn(90, 1, 8, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    images += labels[:, None, None, None]
    return list(zip(images.split(25), labels.split(25), strict=True))


@pytest.fixture
def passes(monkeypatch):
    """Record the layers of every call of `input_means`, and its number of images."""
    calls = []

    def noting(model, batches, layers):
        batches = list(batches)
        calls.append((list(layers), sum(len(images) for images, _ in batches)))
        return input_means(model, batches, layers)

    monkeypatch.setattr(method, "input_means", noting)
    return calls


def pruned(**options):
    batches, generator = sample(), torch.Generator().manual_seed(0)
    loss = nn.functional.cross_entropy
    return run_method(
        network(), batches, loss, find_method("snacs"), Request("auto", generator), {"groups": 0, **options}
    )


def same(one, two):
    return one.layers == two.layers and all(torch.equal(keep, two.mask[name]) for name, keep in one.mask.items())


def test_layer_by_layer_where_no_more_fit_the_memory_it_finds_the_same(passes, monkeypatch):
    expected = pruned()
    assert passes == [(["2", "5", "7"], 90)]
    passes.clear()
    monkeypatch.setattr("snip_cli.pruning.after_training.snacs.probe.MEMORY_MB", 0)
    assert same(pruned(), expected)
    assert passes == [(["2"], 90), (["5"], 90), (["7"], 90)]


def test_only_the_images_that_are_probed_run_for_the_limits(passes, monkeypatch):
    found = pruned(probe_classes=2)
    assert passes == [(["2", "5", "7"], 60)]
    everything = method.first_classes
    monkeypatch.setattr(method, "first_classes", lambda batches, classes: everything(batches, CLASSES))
    run = method.input_means

    def filtered_afterwards(model, batches, layers):
        probed_N = torch.cat([labels for _, labels in sample()]) < 2
        return {name: means[probed_N] for name, means in run(model, batches, layers).items()}

    monkeypatch.setattr(method, "input_means", filtered_afterwards)
    assert same(pruned(probe_classes=2), found)


def to_its_limits(model, method="snacs"):
    generator, loss = torch.Generator().manual_seed(0), nn.functional.cross_entropy
    return run_method(model, sample(), loss, find_method(method), Request("auto", generator), {"groups": 0})


def warnings(caplog, model, method="snacs"):
    """Return the warnings when the model is pruned."""
    with caplog.at_level(logging.WARNING, logger="snip_cli"):
        to_its_limits(model, method)
    return caplog.messages


def test_a_layer_by_which_the_probe_sees_nothing_is_named(caplog):
    model = network()
    nn.init.constant_(model[7].bias, -100.0)  # its outputs are below 0 for every image, but not the same for all
    assert warnings(caplog, model) == [
        "limits set by chance are not used: 7. By the outputs of these layers the probe hardly does better than guessing; "
        "each gets the lower limit of the nearest other layers before and after it"
    ]
    layers = to_its_limits(model).layers
    assert layers["7"]["bound_by"] == "neighbours"
    assert layers["7"]["limit"] == min(layers["5"]["limit"], 1 - 1 / 7)
    assert layers["7"]["removed"] <= layers["7"]["limit"]
    assert "by_chance" in layers["7"]
    assert "by_chance" not in layers["5"]


@pytest.mark.parametrize("method", ["snacs", "mint"])
def test_layers_whose_outputs_never_change_are_named(method, caplog):
    model = network()
    nn.init.zeros_(model[5].weight)
    assert "the outputs of 5, 7 are the same for every image: their connections cannot be told apart" in warnings(
        caplog, model, method
    )


def test_of_a_network_that_sees_its_images_nothing_is_said(caplog):
    assert warnings(caplog, network()) == []


@pytest.mark.parametrize(("labels", "probed"), [([1] * 90, 3), ([2, 3] * 45, 2)])
def test_a_sample_without_several_of_the_probed_classes_is_refused_before_it_is_scored(labels, probed, monkeypatch):
    monkeypatch.setattr(method, "connectivity", None)
    batches, generator = [(torch.cat([images for images, _ in sample()]), torch.tensor(labels))], torch.Generator()
    with pytest.raises(ConfigError, match="not of several classes"):
        run_method(
            network(),
            batches,
            nn.functional.cross_entropy,
            find_method("snacs"),
            Request(0.5, generator),
            {"probe_classes": probed},
        )


@pytest.mark.parametrize("method", ["snacs", "mint"])
def test_fewer_images_than_classes_are_refused(method):
    images, labels = sample()[0]
    batches, generator = [(images[: CLASSES - 1], labels[: CLASSES - 1])], torch.Generator().manual_seed(0)
    with pytest.raises(ConfigError, match="2 images are too few for 3 classes: give some of each"):
        run_method(network(), batches, nn.functional.cross_entropy, find_method(method), Request(0.5, generator), {})


def test_layers_with_fewer_images_than_twice_the_channels_before_them_are_named(caplog):
    def wide(channels):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, channels), nn.ReLU(), nn.Linear(channels, 7), nn.ReLU(), nn.Linear(7, CLASSES)
        ).double()

    assert warnings(caplog, wide(46)) == [
        "the scores of 3 are unreliable: they come from 90 images, fewer than twice the 46 channels before the layer; "
        "raise method.samples_per_class until there are 92 images"
    ]
    caplog.clear()
    assert warnings(caplog, wide(45)) == []
