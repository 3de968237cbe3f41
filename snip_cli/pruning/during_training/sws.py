"""Soft weight-sharing: Ullrich, Meeds & Welling, "Soft Weight-Sharing for Neural Network Compression", ICLR 2017.

The weights are trained further with a prior that is a mixture of Gaussians, whose parameters are learned at the same time. One component
stays at zero and has a fixed, large proportion. Training minimises, for N training images,

    loss - τ/N log p(weights),    p(w) = Σ_j π_j N(w; μ_j, 1/λ_j)

with Gamma priors on the precisions λ_j. In the end each weight is set to the mean of the component that takes most responsibility for it,
which is zero for most. Weights are shared over the whole network; biases are outside of the mixture, and are kept.

With `sparsity=auto` the components decide on the mask. With a number, the κ parameters with the highest odds of another component than the
one at zero are kept, and `metrics.json` has the sparsity that the components found. It always has the errors before the weights are set to
means. Components that have become alike are not merged, as the paper does at last: that changes the size of the code, not the weights.
Train by Adam without weight decay, as the authors do; the prior takes its place.
n: weights, J: components.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.pruning.kept_biases import KeptBiases, load_into, prunable_weights
from snip_cli.pruning.mask import apply_mask
from snip_cli.pruning.method import Biases, Gives, Stage, Start, register
from snip_cli.pruning.options import option
from snip_cli.pruning.pruner import Plan, Pruner

# Shape and rate of the Gamma priors on the precisions of the component at zero and of the others, as in the authors' code.
ZERO_PRIOR, OTHER_PRIOR = (5e3, 2.0), (2.5e2, 0.1)
# Weights that are compared with the components at a time, so that the table fits into the cache.
CHUNK = 2**14
# The lowest logarithm of a share, relative to the highest share: far below rounding, and not yet denormal in single precision.
SMALLEST = -80.0


@dataclass(frozen=True)
class MixtureOptions:
    """The prior. The defaults are those of the paper and the authors' code; the rates are Adam's."""

    components: int = option(16, "components besides the one at zero", at_least=1)
    tau: float = option(0.005, "τ, the strength of the prior", above=0)
    zero_proportion: float = option(0.99, "proportion of the component at zero", above=0, below=1)
    deviation: float = option(0.25, "standard deviation of each component at the start", above=0)
    means_rate: float = option(1e-4, "learning rate of the means", above=0)
    precisions_rate: float = option(3e-3, "learning rate of the log precisions", above=0)
    proportions_rate: float = option(3e-3, "learning rate of the log proportions", above=0)


def log_joint(weights_n: Tensor, means_J: Tensor, log_precisions_J: Tensor, log_proportions_J: Tensor) -> Tensor:
    """Return log π_j N(w; μ_j, 1/λ_j) of each component and weight, J×n: a parabola in w, whose coefficients are multiplied as matrices."""
    precisions_J = log_precisions_J.exp()
    constants_J = log_proportions_J + 0.5 * (log_precisions_J - math.log(2 * math.pi) - precisions_J * means_J**2)
    slopes_J2 = torch.stack([precisions_J * means_J, -0.5 * precisions_J], dim=1)
    return torch.addmm(constants_J[:, None], slopes_J2, torch.stack([weights_n, weights_n**2]))


class MixtureLoss(torch.autograd.Function):
    """-Σ log p(w) of weights n under a mixture of J components, with gradients that are computed beside it, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, weights_n: Tensor, means_J: Tensor, log_precisions_J: Tensor, log_proportions_J: Tensor
    ) -> Tensor:
        precisions_J = log_precisions_J.exp()
        factors_3J = torch.stack([torch.ones_like(means_J), precisions_J, precisions_J * means_J])
        moments_3J, loss, slopes = means_J.new_zeros(3, len(means_J), dtype=torch.float64), means_J.new_zeros(()), []
        for chunk in weights_n.split(CHUNK):
            joint_Jn = log_joint(chunk, means_J, log_precisions_J, log_proportions_J)
            highest_n = joint_Jn.amax(dim=0)
            # The share that each component has in a weight, not normalised. Shares that vanish are slow to compute with.
            shares_Jn = joint_Jn.sub_(highest_n).clamp_(min=SMALLEST).exp_()
            total_n, pull_n, target_n = factors_3J @ shares_Jn
            loss -= (highest_n + total_n.log()).sum()
            slopes.append((chunk * pull_n - target_n) / total_n)
            # Σ shares · (1, w, w²) in double precision, because their differences are small where precisions are high.
            weight_n, share_n = chunk.double(), total_n.double().reciprocal()
            powers_3n = torch.stack([share_n, share_n * weight_n, share_n * weight_n**2])
            moments_3J += powers_3n @ shares_Jn.double().T
        counts_J, first_J, second_J = moments_3J
        squares_J = second_J - 2 * means_J * first_J + means_J**2 * counts_J
        of_means_J = -precisions_J * (first_J - means_J * counts_J)
        of_precisions_J = -0.5 * (counts_J - precisions_J * squares_J)
        ctx.save_for_backward(torch.cat(slopes), *(g.to(means_J) for g in (of_means_J, of_precisions_J, -counts_J)))
        return loss

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, ...]:
        [slope] = slopes
        return tuple(slope * gradient for gradient in ctx.saved_tensors)


class MixturePruner(Pruner):
    """Learns a mixture beside the weights, and sets each weight to the mean of a component."""

    changes_at_finish = True

    def __init__(self, model: nn.Module, plan: Plan, options: MixtureOptions) -> None:
        self._model, self._kept, self._options = model, plan.kept, options
        self._strength = options.tau / plan.images
        self._biases = KeptBiases(model)
        self._weights = prunable_weights(model)
        self.mask = self._biases.mask({n: torch.ones_like(w, dtype=torch.bool) for n, w in self._weights.items()})
        self._facts: dict[str, Any] = {}
        flat = self._flat().detach()
        count = options.components
        spread = torch.linspace(float(flat.min()), float(flat.max()), count, dtype=flat.dtype, device=flat.device)
        self._mixture = {
            "means": spread,
            "log_precisions": flat.new_full((count + 1,), -2 * math.log(options.deviation)),
            "log_proportions": flat.new_zeros(count),
        }
        for each in self._mixture.values():
            each.requires_grad_()

    def _flat(self) -> Tensor:
        return torch.cat([weight.flatten() for weight in self._weights.values()])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the mixture's parameters, each kind at a constant rate of its own."""
        options = self._options
        rates = (options.means_rate, options.precisions_rate, options.proportions_rate)
        return [
            {"params": [each], "lr": rate, "weight_decay": 0.0}
            for each, rate in zip(self._mixture.values(), rates, strict=True)
        ]

    def _components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return means, log precisions and log proportions of all components, the one at zero first."""
        means, log_precisions, log_proportions = self._mixture.values()
        zero = means.new_zeros(1)
        proportion = self._options.zero_proportion
        others = log_proportions.log_softmax(dim=0) + math.log1p(-proportion)
        return torch.cat([zero, means]), log_precisions, torch.cat([zero + math.log(proportion), others])

    def penalty(self) -> Tensor:
        """Return τ/N times the negative log density of the weights and the precisions."""
        loss = MixtureLoss.apply(self._flat(), *self._components())
        log_precisions = self._mixture["log_precisions"]
        for part, (shape, rate) in ((log_precisions[:1], ZERO_PRIOR), (log_precisions[1:], OTHER_PRIOR)):
            loss = loss + ((1 - shape) * part + rate * part.exp()).sum()
        return self._strength * loss

    @torch.no_grad()
    def finish(self) -> None:
        """Set each weight to a mean: those of the component at zero, or all but the κ with the highest odds of another, to zero."""
        odds, means = self._assign()
        found = {name: each > 0 for name, each in odds.items()}
        self._facts = self._biases.found(found)
        self.mask = self._biases.mask(found) if self._kept is None else self._biases.top(odds, self._kept)
        for name, weight in self._weights.items():
            weight.copy_(means[name])
        apply_mask(self._model, self.mask)

    def _assign(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return for each weight the log odds of its best component against the one at zero, and the best one's mean."""
        components = self._components()
        odds, means = {}, {}
        for name, weight in self._weights.items():
            best = []
            for chunk in weight.flatten().split(CHUNK):
                joint_Jn = log_joint(chunk, *components)
                highest_n, number_n = joint_Jn[1:].max(dim=0)
                best.append((highest_n - joint_Jn[0], components[0][1:][number_n]))
            odds[name], means[name] = (torch.cat(each).view(weight.shape) for each in zip(*best, strict=True))
        return odds, means

    def facts(self) -> dict[str, Any]:
        """Return how much the components keep."""
        return self._facts

    def state(self) -> dict[str, Any]:
        return {name: each.detach() for name, each in self._mixture.items()}

    def load(self, state: Mapping[str, Any]) -> None:
        load_into(self._mixture, state)


@register(
    "sws",
    stage=Stage.DURING_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.PRUNER,
    options=MixtureOptions,
    finds_sparsity=True,
    biases=Biases.KEPT,
    redraw=False,
)
def sws(model: nn.Module, plan: Plan, options: MixtureOptions) -> Pruner:
    """Return the pruner of soft weight-sharing."""
    plan.warn_unless_adam("sws")
    return MixturePruner(model, plan, options)
