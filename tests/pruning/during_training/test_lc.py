"""Learning-compression against exact solutions of small least-squares problems."""

import itertools

import pytest
import torch
from torch import nn

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import Plan
from snip_cli.training.trainer import Trainer
from tests.training.trainings import SEED, as_a_run_holds_it, random_data, schedule_of, train

LC = find_method("lc")
INPUTS, KEPT, STEPS = 6, 2, 200


class Problem:
    """½ ‖Xw - y‖² for a linear layer without bias, of which κ weights may differ from zero."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(20, INPUTS, generator=generator, dtype=torch.float64)
        self.y = torch.randn(20, generator=generator, dtype=torch.float64)

    def loss(self, w):
        return 0.5 * (self.x @ w - self.y).square().sum()

    def best(self, columns):
        """The exact minimum with only these weights."""
        w = torch.zeros(INPUTS, dtype=torch.float64)
        w[columns] = torch.linalg.lstsq(self.x[:, columns], self.y[:, None]).solution.flatten()
        return w

    def optimum(self):
        """The exact minimum over all supports of κ weights."""
        return min((self.best(list(c)) for c in itertools.combinations(range(INPUTS), KEPT)), key=self.loss)

    def minimise(self, μ, target):
        """The exact minimum of an L step."""
        return torch.linalg.solve(
            self.x.T @ self.x + μ * torch.eye(INPUTS, dtype=torch.float64), self.x.T @ self.y + μ * target
        )


def solved(problem, mu=0.1, growth=1.05):
    """The weights after LC with exact L steps, which are found through the pruner's penalty alone."""
    model = nn.Linear(INPUTS, 1, bias=False, dtype=torch.float64)
    [weight] = model.parameters()
    weight.data[0] = problem.best(list(range(INPUTS)))  # the trained network
    options = LC.read_options({"steps": STEPS, "mu": mu, "growth": growth})
    pruner = LC.function(model, Plan(KEPT, schedule_of(iterations=STEPS + 1), torch.Generator()), options)
    for iteration in range(2, STEPS + 2):
        weight.data.zero_()
        [at_zero] = torch.autograd.grad(pruner.penalty(), weight)
        weight.data.fill_(1.0)
        [at_one] = torch.autograd.grad(pruner.penalty(), weight)
        μ = (at_one - at_zero).mean().item()  # the penalty is a parabola: μ/2 (w - target)²
        weight.data[0] = problem.minimise(μ, -at_zero[0] / μ)
        pruner.after_step(iteration)
    pruner.finish()
    return weight.detach()[0], pruner


@pytest.mark.parametrize("seed", range(5))
def test_the_result_is_the_exact_least_squares_solution_on_its_support(seed):
    problem = Problem(seed)
    w, pruner = solved(problem)
    assert pruner.mask["weight"][0].tolist() == (w != 0).tolist()
    assert int((w != 0).sum()) == KEPT
    torch.testing.assert_close(w, problem.best(w.nonzero().flatten().tolist()), rtol=0, atol=1e-4)


def test_the_support_is_the_best_of_all_where_magnitude_pruning_fails():
    found = 0
    for seed in range(8):
        problem = Problem(seed)
        w, _ = solved(problem)
        largest = problem.best(list(range(INPUTS))).abs().topk(KEPT).indices.tolist()
        found += bool(torch.equal(w != 0, problem.optimum() != 0) and not problem.optimum()[largest].all())
        assert problem.loss(w) <= problem.loss(problem.best(largest)) + 1e-6
    assert found >= 2


def test_each_step_is_that_of_the_augmented_lagrangian():
    """θ, λ and w of the first steps, written out."""
    problem, mu, growth = Problem(0), 0.3, 1.5
    μ, w, λ = mu, problem.best(list(range(INPUTS))), torch.zeros(INPUTS, dtype=torch.float64)

    def nearest(w):
        return w * (w.abs() >= w.abs().topk(KEPT).values.min())

    θ = nearest(w)
    for _ in range(STEPS):
        w = problem.minimise(μ, θ + λ / μ)
        θ = nearest(w - λ / μ)
        λ = λ - μ * (w - θ)
        μ *= growth
    found, _ = solved(problem, mu, growth)
    torch.testing.assert_close(found, θ, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("steps", "iterations", "ends"),
    [(4, 50, [20, 30, 40, 50]), (3, 10, [5, 8, 10]), (40, 5, [1, 2, 3, 4, 5]), (1, 7, [7])],
    ids=str,
)
def test_the_steps_share_the_schedule_and_the_first_is_twice_as_long(steps, iterations, ends):
    options = LC.read_options({"steps": steps})
    found = options.ends(schedule_of(iterations=iterations))
    assert found == ends


def test_biases_and_what_is_not_prunable_are_free(network):
    model = as_a_run_holds_it(network)
    total = sum(p.numel() for p in prunable_parameters(model).values())
    pruner = LC.function(model, Plan(total // 2, schedule_of(), torch.Generator()), LC.options())
    names = {name for name, p in prunable_parameters(model).items() if p.dim() > 1}
    gradients = torch.autograd.grad(pruner.penalty(), list(model.parameters()), allow_unused=True)
    for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
        assert (gradient is not None) == (name in names)


def test_the_network_is_pruned_at_the_end_only(network):
    model = as_a_run_holds_it(network)
    total = sum(p.numel() for p in prunable_parameters(model).values())
    pruner = LC.function(model, Plan(total // 2, schedule_of(), torch.Generator()), LC.options())
    trainer = Trainer(model, pruner, random_data(), schedule_of(), SEED)
    train(trainer)
    mask = trainer.masks()[0]
    assert all(not p[~mask[name]].any() for name, p in prunable_parameters(model).items())
    assert trainer.facts()[0].keys() == {"val_error_before_finish", "test_error_before_finish"}
