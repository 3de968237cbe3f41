"""SET: sparse evolutionary training (Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity",
Nature Communications 2018).

A network is sparse from its first iteration on, with Erdős-Rényi densities. After every epoch but the last, each layer drops a fraction ζ
of its positive weights, the smallest, and a fraction ζ of its negative ones, the largest, and grows as many connections at random places.
Biases are kept, as in the paper. The paper draws a grown weight's value; here it starts at 0, as in RigL.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.pruning.during_training.rewiring import Rewiring
from snip_cli.pruning.mask import top_mask
from snip_cli.pruning.method import Biases, Gives, Stage, register
from snip_cli.pruning.options import option
from snip_cli.pruning.pruner import Plan, Pruner


@dataclass(frozen=True)
class SetOptions:
    """How much of the mask changes, and how many weights each layer keeps."""

    fraction: float = option(0.3, "ζ, part of the kept connections that an epoch replaces", above=0.0, at_most=1.0)
    densities: str = option("erk", "erk: more in small layers; uniform: the same in all", choices=("erk", "uniform"))


@dataclass(frozen=True)
class SetRule:
    """After each epoch of `images` images, drops what is nearest to zero on both sides and grows at random."""

    zeta: float
    images: int
    batch_size: int
    iterations: int

    def fraction(self, iteration: int) -> float:
        """Return ζ in the iteration that ends an epoch, unless the training ends there too; else 0."""
        seen = iteration * self.batch_size
        ends_epoch = seen // self.images > (seen - self.batch_size) // self.images
        return self.zeta if ends_epoch and iteration < self.iterations else 0.0

    def dropped(self, weight: Tensor, keep: Tensor, fraction: float) -> Tensor:
        """Return the smallest positive and the largest negative weights; zeros count as positive."""
        sides = (keep & (weight >= 0), keep & (weight < 0))
        return smallest(weight, sides[0], fraction) | smallest(weight, sides[1], fraction)

    def preference(self, weight: Tensor, gradient: Tensor, generator: torch.Generator) -> Tensor:
        """Return numbers drawn uniformly from [0, 1) on the CPU, so that every device gets the same."""
        return torch.rand(weight.shape, generator=generator, dtype=torch.float64).to(weight.device)


def smallest(weight: Tensor, among: Tensor, fraction: float) -> Tensor:
    """Return which of the entries `among` are a `fraction` of them, those with the smallest magnitude."""
    count = round(fraction * int(among.sum()))
    return top_mask({"": (-weight.abs()).masked_fill(~among, torch.finfo(weight.dtype).min)}, count)[""]


@register("set", stage=Stage.DURING_TRAINING, gives=Gives.PRUNER, options=SetOptions, biases=Biases.KEPT, redraw=False)
def set_(model: nn.Module, plan: Plan, options: SetOptions) -> Pruner:
    """Return the pruner of SET, and log how often it changes the mask."""
    schedule = plan.schedule
    rule = SetRule(options.fraction, plan.images, schedule.batch_size, schedule.iterations)
    pruner = Rewiring(model, plan, rule, options.densities)
    pruner.log_changes("set", plan, "train for more than an epoch")
    return pruner
