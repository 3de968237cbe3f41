"""IMP: iterative magnitude pruning with rewinding.

Each round trains a network, removes the smallest weights, and rewinds what is left to an early iteration of the reference: to
iteration 0 as in Frankle & Carbin (ICLR 2019), or to a later one as in Frankle et al. (ICML 2020). Biases stay, as in both papers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask, kept_count, top_mask
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Scores, Stage, Start, register
from snip_cli.pruning.options import option

# Each round trains the network once.
MOST_ROUNDS = 200


@dataclass(frozen=True)
class ImpOptions:
    """How much a round removes, where from, and which weights training restarts from."""

    scope: str = option(
        "layers", "layers: the same part of every layer; global: the smallest of all", choices=("layers", "global")
    )
    rate: float = option(0.2, "part of the weights left that a round removes", above=0.0, below=1.0)
    output_rate: float = option(0.1, "the same of the output layer, with scope=layers", above=0.0, below=1.0)
    rewind: int = option(0, "iteration of the reference whose weights training restarts from", at_least=0)


@dataclass(frozen=True)
class Sizes:
    """The weights of a network: per parameter how many, and the part that a round removes; and how many biases there are."""

    counts: dict[str, int]
    rates: dict[str, float]
    biases: int

    @property
    def total(self) -> int:
        """The number m of prunable parameters."""
        return sum(self.counts.values()) + self.biases

    def after(self, rounds: float) -> dict[str, float]:
        """Return how many weights of each parameter are left after so many rounds, a real number."""
        return {name: count * (1 - self.rates[name]) ** rounds for name, count in self.counts.items()}

    def kept_after(self, rounds: int) -> int:
        """Return how many prunable parameters are left after so many whole rounds."""
        return self.biases + round(sum(self.after(rounds).values()))


def sizes_of(model: nn.Module, options: ImpOptions) -> Sizes:
    """Return the sizes of `model`, which may lie on the meta device; the last weight is the output layer's."""
    parameters = prunable_parameters(model)
    counts = {name: p.numel() for name, p in parameters.items() if p.dim() > 1}
    rates = dict.fromkeys(counts, options.rate)
    if options.scope == "layers":
        rates[list(counts)[-1]] = options.output_rate
    return Sizes(counts, rates, sum(p.numel() for p in parameters.values() if p.dim() == 1))


def rounds(model: nn.Module, sparsity: float, options: ImpOptions) -> list[float]:
    """Return the sparsities of the rounds before the last, each removing its full part; the last reaches `sparsity`.

    Raises:
        ConfigError: the options remove so little that more than MOST_ROUNDS rounds are needed.
    """
    sizes = sizes_of(model, options)
    kept = kept_count(sizes.total, sparsity)
    found: list[float] = []
    for number in range(1, MOST_ROUNDS + 1):
        left = sizes.kept_after(number)
        if left <= kept:
            return found
        if left < sizes.total:
            found.append(shortest_sparsity(sizes.total, left))
    raise ConfigError(
        f"method.rate={options.rate} reaches sparsity={sparsity} in more than {MOST_ROUNDS} rounds: choose a larger rate."
    )


def shortest_sparsity(total: int, kept: int) -> float:
    """Return the decimal with the fewest digits that, as sparsity, keeps exactly `kept` of `total` parameters."""
    exact = 1 - kept / total
    rounded = (round(exact, digits) for digits in range(1, 17))
    return next(s for s in rounded if 0 < s < 1 and round(total * (1 - s)) == kept)


def weights_per_layer(sizes: Sizes, kept: int, at_most: Mapping[str, int]) -> dict[str, int]:
    """Return how many weights each parameter keeps, `kept` minus the biases in all, none more than `at_most`.

    All have been pruned by the same real number of rounds, found by bisection; the largest remainders are rounded up.
    """
    wanted = kept - sizes.biases
    low, high = 0.0, 1.0
    while sum(sizes.after(high).values()) > wanted:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(sizes.after(middle).values()) > wanted else (low, middle)
    real = sizes.after((low + high) / 2)
    counts = {name: min(math.floor(value), at_most[name]) for name, value in real.items()}
    order = sorted(real, key=lambda name: counts[name] - real[name])
    while (missing := wanted - sum(counts.values())) > 0:
        for name in [name for name in order if counts[name] < at_most[name]][:missing]:
            counts[name] += 1
    return counts


@register(
    "imp",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    options=ImpOptions,
    biases=Biases.KEPT,
    redraw=False,
    rounds=rounds,
    rewind=lambda options: options.rewind,
)
def imp(model: nn.Module, batches: Sequence[Batch], loss: Loss, request: Request, options: ImpOptions) -> Pruned:
    """Return the mask of one round: the largest of the weights that the round before kept, and every bias."""
    parameters = prunable_parameters(model)
    sizes = sizes_of(model, options)
    kept = kept_count(sizes.total, float(request.sparsity))
    previous: Mask = request.previous or {name: torch.ones(p.shape, dtype=torch.bool) for name, p in parameters.items()}
    # A weight that was pruned before must not come back, whatever its value.
    scores = {
        name: parameters[name].detach().abs().masked_fill(~previous[name].to(parameters[name].device), -1.0)
        for name in sizes.counts
    }
    if options.scope == "global":
        chosen = largest(scores, kept - sizes.biases)
    else:
        counts = weights_per_layer(sizes, kept, {name: int(previous[name].sum()) for name in sizes.counts})
        chosen = {name: largest({name: score}, counts[name])[name] for name, score in scores.items()}
    return Pruned({name: chosen.get(name, torch.ones_like(p, dtype=torch.bool)) for name, p in parameters.items()})


def largest(scores: Scores, count: int) -> Mask:
    """Return the mask of the `count` largest scores, which may be none."""
    if count == 0:
        return {name: torch.zeros_like(score, dtype=torch.bool) for name, score in scores.items()}
    return top_mask(scores, count)
