"""Error and loss of a split, and whether a network has learned anything."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.training import evaluation
from snip_cli.training.evaluation import evaluate, guessing_loss, has_learned
from tests.splits import split_of
from tests.training.trainings import schedule_of


@pytest.fixture
def split():
    """Seven images that are their own scores for two classes; the third and the sixth are wrong."""
    scores = torch.tensor([[2, 0], [0, 1], [0, 3], [1, 0], [0, 1], [4, 1], [0, 9]], dtype=torch.float64)
    return split_of(scores[:, :, None, None], torch.tensor([0, 1, 0, 0, 1, 1, 1]))


def test_the_error_is_the_percentage_of_wrong_labels(split):
    error, _ = evaluate(nn.Flatten(), split)
    assert error == 100 * 2 / 7


def test_the_loss_is_the_mean_cross_entropy(split):
    _, loss = evaluate(nn.Flatten(), split)
    rows = zip(split.images[:, :, 0, 0].tolist(), split.labels.tolist(), strict=True)
    by_hand = [math.log(sum(math.exp(score) for score in scores)) - scores[label] for scores, label in rows]
    assert loss == pytest.approx(sum(by_hand) / 7, rel=1e-14)


@pytest.mark.parametrize("chunk", [1, 3, 7, 8])
def test_the_size_of_the_pieces_changes_nothing(chunk, split, monkeypatch):
    expected = evaluate(nn.Flatten(), split)
    monkeypatch.setattr(evaluation, "CHUNK", chunk)
    assert evaluate(nn.Flatten(), split) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_in_inference_mode_and_afterwards_as_before(training, network, batch):
    images, labels = batch
    expected = F.cross_entropy(network.eval()(images), labels).item()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train(training)
    _, loss = evaluate(network, split_of(images, labels))
    assert loss == pytest.approx(expected, rel=1e-14)
    assert all(module.training is training for module in network.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_no_gradient_is_recorded(network, batch):
    recorded = []
    network.register_forward_hook(lambda module, inputs, outputs: recorded.append(outputs.requires_grad))
    evaluate(network, split_of(*batch))
    assert recorded == [False]


ALIKE, UNLIKE = torch.arange(100) % 10, (torch.arange(100) % 10 == 0).long()


def test_guessing_costs_the_entropy_of_the_classes():
    assert guessing_loss(ALIKE) == pytest.approx(math.log(10))
    assert guessing_loss(UNLIKE) == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))


@pytest.mark.parametrize(("labels", "dead", "alive"), [(ALIKE, 2.303, 2.2), (UNLIKE, 0.325, 0.31)])
def test_a_network_has_learned_where_its_loss_is_below_that_of_guessing(labels, dead, alive):
    schedule = schedule_of(iterations=10, batch_size=10)
    assert has_learned(dead, schedule, labels) is False
    assert has_learned(alive, schedule, labels) is True


def test_of_less_than_all_images_nothing_is_known():
    assert has_learned(2.2, schedule_of(iterations=9, batch_size=10), ALIKE) is None
