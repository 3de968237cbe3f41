"""Pruning in rounds without training between them: how many parameters each round keeps, and the loop over the rounds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snip_cli.pruning.mask import Mask, apply_mask, top_mask
from snip_cli.pruning.method import Scores


def exponential_counts(total: int, kept: int, rounds: int) -> list[int]:
    """Return how many of `total` parameters each round keeps: the same share of what the round before kept, and `kept` in the last."""
    return [round(total * (kept / total) ** (number / rounds)) for number in range(1, rounds)] + [kept]


def prune_in_rounds(
    parameters: Mapping[str, Tensor],
    kept: int,
    rounds: int,
    score: Callable[[Mask], Scores],
    *,
    revives: bool = False,
) -> Mask:
    """Return the mask of `kept` of these parameters after so many rounds of scoring and removing.

    Args:
        parameters: those that are scored, by name.
        kept: how many of them are kept at the end.
        rounds: how many rounds; one is single-shot pruning.
        score: mask so far → scores of all entries, at least 0.
        revives: whether an entry that an earlier round removed may come back.
    """
    mask: Mask = {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()}
    for count in exponential_counts(sum(p.numel() for p in parameters.values()), kept, rounds):
        scores = score(mask)
        if not revives:
            scores = {name: scores[name].masked_fill(~keep, -1.0) for name, keep in mask.items()}
        mask = top_mask(scores, count)
    return mask


@contextmanager
def masked(model: nn.Module, mask: Mask) -> Iterator[None]:
    """Within the block, the pruned parameters of `model` are zero."""
    values = {name: model.get_parameter(name).detach().clone() for name in mask}
    try:
        apply_mask(model, mask)
        yield
    finally:
        with torch.no_grad():
            for name, value in values.items():
                model.get_parameter(name).copy_(value)
