"""Label smoothing: in the loss that training minimises, and nowhere else."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.training.losses import training_losses
from tests.training.trainings import as_a_run_holds_it, half_mask, random_data, schedule_of, train, trainer_of

OUTPUTS = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)


def test_a_smoothed_label_is_the_image_s_own_class_and_a_share_of_every_class():
    # Of two classes with ε = 0.2 the targets are 0.9 and 0.1; both images belong to class 0.
    logs = [
        [-math.log(1 + math.exp(-1)), -math.log(1 + math.exp(1))],
        [-math.log(1 + math.exp(3)), -math.log(1 + math.exp(-3))],
    ]
    smoothed = [-0.9 * own - 0.1 * other for own, other in logs]
    minimised, reported = training_losses(OUTPUTS, torch.zeros(2, dtype=torch.int64), 0.2)
    assert minimised.item() == pytest.approx(sum(smoothed) / 2, rel=1e-12)
    assert reported.item() == pytest.approx(-(logs[0][0] + logs[1][0]) / 2, rel=1e-12)
    each, _ = training_losses(OUTPUTS, torch.zeros(2, dtype=torch.int64), 0.2, reduction="none")
    assert each.tolist() == pytest.approx(smoothed, rel=1e-12)


def test_without_smoothing_both_losses_are_the_cross_entropy_and_the_reported_one_has_no_gradient():
    outputs = OUTPUTS.clone().requires_grad_()
    for smoothing in (0.0, 0.1):
        minimised, reported = training_losses(outputs, torch.tensor([0, 1]), smoothing)
        assert minimised.requires_grad
        assert not reported.requires_grad
        assert torch.equal(reported, F.cross_entropy(OUTPUTS, torch.tensor([0, 1])))
        assert torch.equal(minimised, reported) is (smoothing == 0)


def test_a_step_follows_the_smoothed_loss_and_the_record_holds_plain_ones(network):
    changes = {"iterations": 1, "evaluate_every": 1, "momentum": 0.0, "label_smoothing": 0.3}
    model = as_a_run_holds_it(network)
    with torch.no_grad():
        for name, keep in half_mask(network).items():
            model.get_parameter(name).mul_(keep)
    trainer = trainer_of(as_a_run_holds_it(network), **changes)
    images, labels = next(trainer.batches())
    outputs = model(images)
    F.cross_entropy(outputs, labels, label_smoothing=0.3).backward()
    schedule, masks = schedule_of(**changes), half_mask(network)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            decay = schedule.weight_decay if name in masks else 0.0  # batch-norm has none
            parameter -= schedule.learning_rate * (parameter.grad + decay * parameter)
            parameter.mul_(masks.get(name, torch.ones(())))
    [row], _ = train(trainer)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(trainer.model.get_parameter(name), parameter, rtol=0, atol=1e-12)
    assert row["train_loss"] == pytest.approx(F.cross_entropy(outputs, labels).item(), rel=1e-12)
    with torch.no_grad():
        test = random_data().test
        plain = nn.functional.cross_entropy(model.eval()(test.images), test.labels).item()
    assert row["test_loss"] == pytest.approx(plain, rel=1e-9)
