"""Pruning in rounds: how many weights each round leaves, and which. Biases stay.

Shared by the methods that remove a part of the weights in each round and train the network between the rounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.densities import whole_counts
from snip_cli.pruning.mask import Mask, kept_count, top_mask
from snip_cli.pruning.method import Request, Scores

# Each round trains the network once.
MOST_ROUNDS = 200


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


def sizes_of(model: nn.Module, rate: float, output_rate: float) -> Sizes:
    """Return the sizes of `model`, which may lie on the meta device; the last weight is the output layer's."""
    parameters = prunable_parameters(model)
    counts = {name: p.numel() for name, p in parameters.items() if p.dim() > 1}
    rates = dict.fromkeys(counts, rate)
    rates[list(counts)[-1]] = output_rate
    return Sizes(counts, rates, sum(p.numel() for p in parameters.values() if p.dim() == 1))


def rounds_of(sizes: Sizes, sparsity: float, rate: float) -> list[float]:
    """Return the sparsities of the rounds before the last, each removing its full part; the last reaches `sparsity`.

    Raises:
        ConfigError: `rate` is so small that more than MOST_ROUNDS rounds are needed.
    """
    kept = kept_count(sizes.total, sparsity)
    found: list[float] = []
    for number in range(1, MOST_ROUNDS + 1):
        left = sizes.kept_after(number)
        if left <= kept:
            return found
        if left < sizes.total:
            found.append(shortest_sparsity(sizes.total, left))
    raise ConfigError(
        f"method.rate={rate} reaches sparsity={sparsity} in more than {MOST_ROUNDS} rounds: choose a larger rate."
    )


class HasRate(Protocol):
    """Options of a method that removes the same part of the weights of every layer in each round."""

    @property
    def rate(self) -> float: ...


def rounds_at_rate(model: nn.Module, sparsity: float, options: HasRate) -> list[float]:
    """Return the sparsities of the rounds before the last, as `rounds_of`."""
    return rounds_of(sizes_of(model, options.rate, options.rate), sparsity, options.rate)


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
    return whole_counts(sizes.after((low + high) / 2), at_most, wanted)


def kept_before(model: nn.Module, request: Request) -> Mask:
    """Return the mask of the round before, on the model's device; in the first round everything is kept."""
    parameters = prunable_parameters(model)
    if request.previous is None:
        return {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()}
    return {name: request.previous[name].to(p.device) for name, p in parameters.items()}


def round_mask(model: nn.Module, request: Request, scores: Scores, sizes: Sizes | None = None) -> Mask:
    """Return the mask of one round: the largest scores among the weights that the round before kept, and every bias.

    Args:
        scores: one per weight, none negative.
        sizes: remove the part of each layer that they say; None: the smallest scores of the whole network.
    """
    parameters, previous = prunable_parameters(model), kept_before(model, request)
    kept = kept_count(sum(p.numel() for p in parameters.values()), float(request.sparsity))
    # A weight that was pruned before must not come back, whatever its value.
    scores = {name: score.masked_fill(~previous[name], -1.0) for name, score in scores.items()}
    if sizes is None:
        biases = sum(p.numel() for name, p in parameters.items() if name not in scores)
        chosen = top_mask(scores, kept - biases)
    else:
        counts = weights_per_layer(sizes, kept, {name: int(previous[name].sum()) for name in scores})
        chosen = {name: top_mask({name: score}, counts[name])[name] for name, score in scores.items()}
    return {name: chosen.get(name, torch.ones_like(p, dtype=torch.bool)) for name, p in parameters.items()}


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the prunable parameters that are no biases, by name."""
    return {name: p.detach() for name, p in prunable_parameters(model).items() if p.dim() > 1}
