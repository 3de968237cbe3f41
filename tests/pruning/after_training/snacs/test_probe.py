"""The probe, against scikit-learn's own classifier, and mean outputs from input means, against the masked network."""

import numpy
import pytest
import torch
from sklearn.svm import SVC
from torch import nn

from snip_cli.data.sample import class_balanced_sample
from snip_cli.errors import ConfigError
from snip_cli.models.tensorflow import SameConv2d
from snip_cli.pruning.after_training.activations import channel_means
from snip_cli.pruning.after_training.snacs.probe import (
    Probe,
    first_classes,
    guessing_accuracy,
    input_means,
    layers_that_fit,
    mean_outputs,
    require_classes,
)
from tests.splits import split_of


def outputs(seed, spread=1.0):
    """Return labels and outputs of 60 images of three classes that differ in the mean."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(60) % 3
    return labels, spread * (torch.randn(60, 8, generator=generator) + torch.eye(3, 8)[labels])


def plain_predictions(learned, labels, asked):
    classifier = SVC(random_state=0, tol=1e-5)
    classifier.fit(learned.clamp_min(0).numpy(), labels.numpy())
    return classifier.predict(asked.clamp_min(0).numpy())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
def test_its_accuracy_is_that_of_the_plain_classifier(seed, spread):
    labels, learned = outputs(seed, spread)
    noise = spread * torch.randn(60, 8, generator=torch.Generator().manual_seed(99))
    for asked in (learned, learned + 0.5 * noise, learned * 0.5, noise):
        expected = float((plain_predictions(learned.double(), labels, asked.double()) == labels.numpy()).mean())
        assert Probe(learned, labels).accuracy(asked) == expected


def test_what_is_below_zero_is_not_seen():
    labels, learned = outputs(0)
    probe = Probe(learned, labels)
    assert (
        probe.accuracy(learned)
        == probe.accuracy(learned.clamp_min(0))
        == Probe(learned.clamp_min(0), labels).accuracy(learned)
    )


def test_a_layer_that_is_dead_tells_no_classes_apart():
    labels = torch.arange(60) % 3
    assert Probe(-torch.ones(60, 8), labels).accuracy(-torch.ones(60, 8)) == pytest.approx(1 / 3)


def test_images_of_one_class_or_none_are_refused():
    for labels in (torch.tensor([], dtype=torch.long), torch.tensor([3, 3])):
        with pytest.raises(ConfigError, match="not of several classes: give some of each"):
            require_classes(labels)
    require_classes(torch.tensor([3, 4]))


def test_guessing_names_the_most_frequent_class():
    assert guessing_accuracy(torch.tensor([2, 0, 2, 5])) == 0.5


def test_labels_need_not_be_neighbours():
    labels, learned = outputs(0)
    assert Probe(learned, 7 * labels + 3).accuracy(learned) == Probe(learned, labels).accuracy(learned)
    assert numpy.isfinite(Probe(learned, labels).accuracy(1e6 * learned))


def test_what_is_probed_are_the_images_of_the_first_classes():
    labels = torch.tensor([2, 0, 1, 1, 2, 2, 2, 0])
    batches = list(zip(torch.arange(8.0).split(3), labels.split(3), strict=True))
    found = list(first_classes(batches, 2))
    assert [images.tolist() for images, _ in found] == [[1.0, 2.0], [3.0], [7.0]]
    assert [classes.tolist() for _, classes in found] == [[0, 1], [1], [0]]
    assert [len(images) for images, _ in first_classes([(torch.zeros(3), torch.tensor([2, 2, 2]))], 2)] == []


def test_of_a_sample_the_other_images_are_not_read():
    labels = torch.arange(30) % 3
    split = split_of(torch.arange(30.0)[:, None, None, None], labels)
    sample = class_balanced_sample(split, 6, batch_size=5, classes=3, seed=0)
    everything = torch.cat([images for images, classes in sample]).flatten()
    read = []
    selected = type(split).selected
    narrowed = first_classes(sample, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(split), "selected", lambda self, rows: selected(self, (read.append(r) or r for r in rows)))
        found = torch.cat([images for images, _ in narrowed]).flatten()
    assert torch.equal(found, everything[labels[everything.long()] < 2])
    assert torch.equal(torch.cat(read).float(), found)


CONVOLUTIONS = {
    "plain": lambda: nn.Conv2d(3, 4, 3),
    "padded": lambda: nn.Conv2d(3, 4, 3, padding=1),
    "without bias": lambda: nn.Conv2d(3, 4, 3, padding=1, bias=False),
    "strided": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "strided past the end": lambda: nn.Conv2d(3, 4, 2, stride=3),
    "oblong": lambda: nn.Conv2d(3, 4, (1, 5), stride=(2, 1), padding=(0, 2)),
    "dilated": lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=2),
    "padded by name": lambda: nn.Conv2d(3, 4, (3, 5), padding="same"),
    "padded with a mirror": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "pointwise": lambda: nn.Conv2d(3, 4, 1, stride=2),
    "of TensorFlow": lambda: SameConv2d(3, 4, 3),
    "of TensorFlow, strided": lambda: SameConv2d(3, 4, 5, 2),
    "of TensorFlow, even": lambda: SameConv2d(3, 4, 4, 3),
}


def images(dtype):
    return torch.randn(5, 3, 9, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)


def agree(model, name, dtype):
    """Assert that both ways give the same mean outputs of layer `name` for some masks."""
    model = model.to(dtype)
    layer = model.get_submodule(name)
    batches = [(part, None) for part in images(dtype).split(2)]
    means = input_means(model, batches, [name])[name]
    original = layer.weight.detach().clone()
    for seed in range(3):
        mask = torch.rand(original.shape, generator=torch.Generator().manual_seed(seed)) > seed / 3
        with torch.no_grad():
            layer.weight.copy_(original * mask)
        real = channel_means(model, batches, [name])[name]
        tolerance = 1e-10 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(
            mean_outputs(means, original * mask, layer.bias), real, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_masked_convolutions_mean_output_is_that_of_the_masked_network(kind, dtype):
    torch.manual_seed(0)
    agree(nn.Sequential(nn.ReLU(), CONVOLUTIONS[kind]()), "1", dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_masked_linear_layers_output_is_that_of_the_masked_network(dtype):
    torch.manual_seed(0)
    # The ReLU before it overwrites its input's memory, and the one behind it its output.
    agree(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(True), nn.Flatten(), nn.Linear(84, 5), nn.ReLU(True)), "3", dtype)


def test_the_means_have_a_row_an_image_and_a_column_a_place_of_the_kernel():
    model = nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.Flatten(), nn.Linear(4 * 7 * 7, 2))
    means = input_means(model, [(images(torch.float32), None)], ["0", "2"])
    assert {name: tuple(mean.shape) for name, mean in means.items()} == {"0": (5, 3, 6), "2": (5, 196, 1)}


@pytest.mark.parametrize(
    ("memory_mb", "dtype", "count"),
    [(1, "float", 1), (2, "float", 2), (4, "float", 3), (5, "float", 4), (4, "double", 2), (0, "float", 1)],
)
def test_as_many_layers_as_fit_the_memory_and_at_least_one(memory_mb, dtype, count, monkeypatch):
    model = nn.Sequential(nn.Conv2d(256, 4, 1), nn.Conv2d(64, 4, (2, 2)), nn.Linear(512, 3), nn.Linear(1, 1))
    layers = ["0", "1", "2", "3"]
    # In float32, 1,024 images take 1 MB for each of the first two layers: 256 numbers of 4 bytes an image.
    monkeypatch.setattr("snip_cli.pruning.after_training.snacs.probe.MEMORY_MB", memory_mb)
    assert layers_that_fit(getattr(model, dtype)(), layers, images=1024) == layers[:count]


def test_a_layer_that_computes_something_else_is_refused():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return super().forward(2 * x)

    with pytest.raises(ConfigError, match="Layer '0' computes something else"):
        input_means(nn.Sequential(Doubled(3, 4, 3)), [(images(torch.float32), None)], ["0"])


def test_an_output_that_is_not_finite_is_refused_by_the_name_of_its_layer():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    nn.init.constant_(model[0].bias, torch.nan)
    with pytest.raises(ConfigError, match="outputs of layer '1' are not finite"):
        input_means(model, [(images(torch.float32), None)], ["1"])


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    input_means(model, [(images(torch.float32), None)], ["0"])
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model[0]._forward_hooks
