"""A pruner that uses every part of the protocol, against a loop written out."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from snip_cli.data.draws import draws
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.pruner import FixedMask, Pruner
from snip_cli.training.trainer import Trainer
from tests.training.trainings import (
    SEED,
    after_every_step,
    as_a_run_holds_it,
    half_mask,
    random_data,
    schedule_of,
    train,
    trainer_of,
    without_times,
)

RATE, STRENGTH, EVERY = 0.03, 0.05, 4


class Gates(Pruner):
    """A gate g for each parameter: the forward pass sees g·w, the penalty is g², and every few iterations the smallest g·w goes for good."""

    def __init__(self, model, *, own_rate=True):
        self.model, self.own_rate = model, own_rate
        self.parameters = prunable_parameters(model)
        self.mask = {name: torch.ones_like(p, dtype=torch.bool) for name, p in self.parameters.items()}
        self.gates = {name: torch.ones((), dtype=p.dtype, requires_grad=True) for name, p in self.parameters.items()}

    def parameter_groups(self):
        rate = {"lr": RATE} if self.own_rate else {}
        return [{"params": list(self.gates.values()), **rate}]

    def weights(self):
        return {name: p * self.gates[name] * self.mask[name] for name, p in self.parameters.items()}

    def penalty(self):
        return STRENGTH * sum(gate**2 for gate in self.gates.values())

    def after_step(self, iteration):
        if iteration % EVERY == 0:
            for name, weight in self.weights().items():
                size = weight.detach().abs().masked_fill(~self.mask[name], torch.inf)
                self.mask[name].view(-1)[size.argmin()] = False

    def finish(self):
        for name, weight in self.weights().items():
            self.parameters[name].data.copy_(weight.detach())

    def state(self):
        return {"mask": self.mask, "gates": {name: gate.detach() for name, gate in self.gates.items()}}

    def load(self, state):
        for name, gate in self.gates.items():
            gate.data.copy_(state["gates"][name])
            self.mask[name].copy_(state["mask"][name])


def gated(network, *, own_rate=True, **changes):
    model = as_a_run_holds_it(network)
    return Trainer(model, Gates(model, own_rate=own_rate), random_data(), schedule_of(**changes), SEED)


@pytest.mark.parametrize(("own_rate", "smoothing"), [(True, 0.0), (False, 0.0), (True, 0.3)])
def test_training_equals_the_loop_written_out(own_rate, smoothing, network):
    trainer = gated(network, own_rate=own_rate, label_smoothing=smoothing)
    schedule, model = trainer.schedule, as_a_run_holds_it(network)
    parameters = dict(model.named_parameters())
    pruned = {name: torch.ones_like(p) for name, p in prunable_parameters(model).items()}
    gates = {name: torch.ones((), dtype=torch.float64, requires_grad=True) for name in pruned}
    everything = {**parameters, **{f"gate of {name}": gate for name, gate in gates.items()}}
    velocity = {name: torch.zeros_like(p) for name, p in everything.items()}
    model.train()
    batches = random_data().train.drawn(draws(30, schedule.batch_size, SEED))
    for t in range(1, schedule.iterations + 1):
        images, labels = next(batches)
        seen = {name: parameters[name] * gates[name] * keep for name, keep in pruned.items()}
        loss = F.cross_entropy(functional_call(model, seen, (images,)), labels, label_smoothing=smoothing)
        loss = loss + STRENGTH * sum(gate**2 for gate in gates.values())
        gradients = torch.autograd.grad(loss, list(everything.values()))
        for (name, p), gradient in zip(everything.items(), gradients, strict=True):
            slope = gradient + (schedule.weight_decay if name in pruned else 0.0) * p.data
            velocity[name] = schedule.momentum * velocity[name] + slope
            constant = own_rate and name not in parameters
            p.data -= (RATE if constant else schedule.rate_at(t - 1)) * velocity[name]
        if t % EVERY == 0:
            for name, keep in pruned.items():
                size = [
                    abs(w * gates[name].item()) if k else float("inf")
                    for w, k in zip(parameters[name].data.flatten().tolist(), keep.flatten().tolist(), strict=True)
                ]
                keep.view(-1)[size.index(min(size))] = 0.0
    rows, _ = train(trainer)
    for name, gate in gates.items():
        torch.testing.assert_close(trainer.pruner.gates[name], gate, rtol=0, atol=1e-12)
        assert torch.equal(trainer.masks()[0][name], pruned[name].bool())
    expected = {**model.state_dict(), **{n: (parameters[n] * gates[n] * keep).detach() for n, keep in pruned.items()}}
    for name, tensor in trainer.weights()[0].items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-12)
    with torch.no_grad():
        test = random_data().test
        outputs = functional_call(model.eval(), expected, (test.images,))
        assert rows[-1]["test_loss"] == pytest.approx(F.cross_entropy(outputs, test.labels).item(), rel=1e-12)


def test_an_evaluation_is_of_the_weights_as_the_forward_pass_sees_them(network):
    trainer = gated(network, iterations=20)
    losses = []

    def look():
        if trainer.iteration == 10:
            split = random_data().validation
            seen = {**trainer.model.state_dict(), **trainer.pruner.weights()}
            with torch.no_grad():
                outputs = functional_call(trainer.model.eval(), seen, (split.images,))
                losses.append(F.cross_entropy(outputs, split.labels).item())
            trainer.model.train()

    after_every_step(trainer, look)
    rows, _ = train(trainer)
    assert rows[0]["val_loss"] == pytest.approx(losses[0], rel=1e-12)


def test_the_training_loss_is_without_the_penalty(network):
    trainer = gated(network, iterations=1)
    images, labels = next(trainer.batches())
    expected = F.cross_entropy(as_a_run_holds_it(network)(images), labels).item()
    rows, _ = train(trainer)
    assert rows[0]["train_loss"] == pytest.approx(expected, rel=1e-12)


class Halved(Gates):
    """Halves the weights at the end, and reports their number."""

    changes_at_finish = True

    def finish(self):
        super().finish()
        for parameter in self.parameters.values():
            parameter.data.mul_(0.5)

    def facts(self):
        return {"halved": len(self.parameters)}


def test_the_errors_just_before_finish_are_recorded_beside_what_the_pruner_has_found(network):
    model = as_a_run_holds_it(network)
    trainer, data = Trainer(model, Halved(model), random_data(), schedule_of(), SEED), random_data()
    errors = {}

    def look():
        if trainer.iteration == 30:
            for name, split in (("val", data.validation), ("test", data.test)):
                with torch.no_grad():
                    outputs = functional_call(model.eval(), trainer.pruner.weights(), (split.images,))
                wrong = int((outputs.argmax(dim=1) != split.labels).sum())
                errors[f"{name}_error_before_finish"] = 100 * wrong / len(split)
            model.train()

    after_every_step(trainer, look)
    train(trainer)
    assert trainer.facts() == [{**errors, "halved": len(trainer.pruner.parameters)}]


def test_a_pruner_that_changes_nothing_at_finish_has_no_errors_before_it(network):
    trainer = gated(network)
    train(trainer)
    assert trainer.facts() == [{}]


@pytest.mark.parametrize("own_rate", [True, False])
def test_going_on_from_a_checkpoint_is_bit_for_bit_never_having_stopped(own_rate, network):
    unbroken = gated(network, own_rate=own_rate, checkpoint_every=7)
    rows, states = train(unbroken)
    for state in states:
        resumed = gated(network, own_rate=own_rate, checkpoint_every=7)
        resumed.load([state])
        later, _ = train(resumed)
        done = state["progress"]["iteration"]
        assert without_times(later) == [row for row in without_times(rows) if row["iteration"] > done]
        assert all(torch.equal(w, unbroken.weights()[0][name]) for name, w in resumed.weights()[0].items())
        assert all(torch.equal(gate, unbroken.pruner.gates[name]) for name, gate in resumed.pruner.gates.items())


def test_a_checkpoint_of_an_earlier_version_has_no_pruner(network):
    unbroken = trainer_of(as_a_run_holds_it(network))
    _, [state, *_] = train(unbroken)
    del state["pruner"]
    resumed = trainer_of(as_a_run_holds_it(network))
    resumed.load([state])
    train(resumed)
    assert all(torch.equal(w, unbroken.weights()[0][name]) for name, w in resumed.weights()[0].items())


def test_a_fixed_mask_is_one_of_the_pruners(network):
    model = as_a_run_holds_it(network)
    trainer = Trainer(model, FixedMask(model, half_mask(model)), random_data(), schedule_of(), SEED)
    assert trainer.forward.pruner is None
    assert all(torch.equal(keep, half_mask(model)[name]) for name, keep in trainer.masks()[0].items())
