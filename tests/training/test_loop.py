"""What the training loop says of a network that has learned nothing."""

import math

import pytest
import torch

from snip_cli.runfolder.results import Evaluation
from snip_cli.training.loop import guessing_loss, has_learned
from snip_cli.training.progress import Progress
from tests.training.trainings import schedule_of

ALIKE, UNLIKE = torch.arange(100) % 10, (torch.arange(100) % 10 == 0).long()


def after(loss):
    return Progress(evaluations=[Evaluation(1, 0.1, loss, 0.0, 0.0, 0.0, 0.0)])


def test_guessing_costs_the_entropy_of_the_classes():
    assert guessing_loss(ALIKE) == pytest.approx(math.log(10))
    assert guessing_loss(UNLIKE) == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))


@pytest.mark.parametrize(("labels", "dead", "alive"), [(ALIKE, 2.303, 2.2), (UNLIKE, 0.325, 0.31)])
def test_a_network_has_learned_where_its_loss_is_below_that_of_guessing(labels, dead, alive):
    schedule = schedule_of(iterations=10, batch_size=10)
    assert has_learned(after(dead), schedule, labels) is False
    assert has_learned(after(alive), schedule, labels) is True


def test_of_less_than_all_images_nothing_is_known():
    assert has_learned(after(2.2), schedule_of(iterations=9, batch_size=10), ALIKE) is None
