"""The probe is scikit-learn's own classifier, but faster."""

import numpy
import pytest
import torch
from sklearn.svm import SVC

from snip_cli.data.sample import class_balanced_sample
from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.probe import Probe, guessing, probed, require_classes
from tests.splits import split_of


def outputs(seed, spread=1.0):
    """60 images of three classes, whose outputs differ in the mean."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(60) % 3
    return labels, spread * (torch.randn(60, 8, generator=generator) + torch.eye(3, 8)[labels])


def plain_predictions(learnt, labels, asked):
    classifier = SVC(random_state=0, tol=1e-5)
    classifier.fit(learnt.clamp_min(0).numpy(), labels.numpy())
    return classifier.predict(asked.clamp_min(0).numpy())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
def test_its_accuracy_is_that_of_the_plain_classifier(seed, spread):
    labels, learnt = outputs(seed, spread)
    noise = spread * torch.randn(60, 8, generator=torch.Generator().manual_seed(99))
    for asked in (learnt, learnt + 0.5 * noise, learnt * 0.5, noise):
        expected = float((plain_predictions(learnt.double(), labels, asked.double()) == labels.numpy()).mean())
        assert Probe(learnt, labels).accuracy(asked) == expected


def test_what_is_below_zero_is_not_seen():
    labels, learnt = outputs(0)
    probe = Probe(learnt, labels)
    assert (
        probe.accuracy(learnt)
        == probe.accuracy(learnt.clamp_min(0))
        == Probe(learnt.clamp_min(0), labels).accuracy(learnt)
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
    assert guessing(torch.tensor([2, 0, 2, 5])) == 0.5


def test_labels_need_not_be_neighbours():
    labels, learnt = outputs(0)
    assert Probe(learnt, 7 * labels + 3).accuracy(learnt) == Probe(learnt, labels).accuracy(learnt)
    assert numpy.isfinite(Probe(learnt, labels).accuracy(1e6 * learnt))


def test_what_is_probed_are_the_images_of_the_first_classes():
    labels = torch.tensor([2, 0, 1, 1, 2, 2, 2, 0])
    batches = list(zip(torch.arange(8.0).split(3), labels.split(3), strict=True))
    found = list(probed(batches, 2))
    assert [images.tolist() for images, _ in found] == [[1.0, 2.0], [3.0], [7.0]]
    assert [classes.tolist() for _, classes in found] == [[0, 1], [1], [0]]
    assert [len(images) for images, _ in probed([(torch.zeros(3), torch.tensor([2, 2, 2]))], 2)] == []


def test_of_a_sample_the_other_images_are_not_read():
    labels = torch.arange(30) % 3
    split = split_of(torch.arange(30.0)[:, None, None, None], labels)
    sample = class_balanced_sample(split, 6, batch_size=5, classes=3, seed=0)
    everything = torch.cat([images for images, classes in sample]).flatten()
    read = []
    selected = type(split).selected
    narrowed = probed(sample, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(split), "selected", lambda self, rows: selected(self, (read.append(r) or r for r in rows)))
        found = torch.cat([images for images, _ in narrowed]).flatten()
    assert torch.equal(found, everything[labels[everything.long()] < 2])
    assert torch.equal(torch.cat(read).float(), found)
