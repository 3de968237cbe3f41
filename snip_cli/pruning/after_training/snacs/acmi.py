"""Adaptive conditional mutual information (ACMI) by hashing: linear in the samples, and all pairs of groups of a layer at once.

The estimator extends EDGE (Noshad et al., 2018, Eq. 9) by a condition. X (child group), Y (parent group) and Z (all other parents) are
hashed separately, and with r the share of samples in a bucket,

    I = Σ_ijk φ_ik · r_ik r_jk / r_k · g(r_ijk r_k / (r_ik r_jk)),    g(t) = t log2 t

for parent buckets i, child buckets j and condition buckets k, less what chance alone gives. The estimate is the median over an ensemble of
widths, shifts and directions of Z. `coordinates` says what is hashed, `buckets` how, `phi` what φ is.

N samples, C channels, G child groups, H parent groups, M members of the ensemble; B child, K condition, Y parent buckets.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from snip_cli.pruning.after_training.activations import check_activations
from snip_cli.pruning.after_training.connections import Bounds
from snip_cli.pruning.after_training.snacs.buckets import (
    CURVATURE,
    Member,
    bucket_width,
    draw_ensemble,
    ensemble_widths,
    information_terms,
    joint_counts,
    look_up,
    quantise,
)
from snip_cli.pruning.after_training.snacs.coordinates import Coordinates
from snip_cli.pruning.after_training.snacs.phi import BucketFactor

Item = TypeVar("Item")
# Child and parent groups that are worked on at once.
Block = tuple[slice, slice]

MEMBERS = 10
# What each thread may hold, beyond a few float64 copies of the activations and, for each member, half a copy of N × H.
MEMORY_MB = 64
# Largest memory that a pair of groups needs for a sample, and for a cell of its table.
SAMPLE_BYTES = 64
CELL_BYTES = 64


@torch.no_grad()
def layer_information(
    child_NC: Tensor,
    parent_NC: Tensor,
    *,
    child_bounds: Bounds,
    parent_bounds: Bounds,
    factor: BucketFactor | None = None,
    seed: int = 0,
) -> Tensor:
    """Return I(child group; parent group | all other parent channels) of every pair: float64 G×H, in bits, on the activations' device.

    Independent groups score about 0, on either side of it, because what chance gives is subtracted. A constant channel carries no
    information. The estimate is no bound on the information, from either side (numbers: results/snacs):

    - Of groups of several channels one direction each is looked at. Two groups of 8 channels that share 2.58 bits score 0.31.
    - A cause that child and parent share is removed only as far as it is linear in the other parents, or shows along one direction of them.
      Otherwise it counts: 0.3 to 0.6 bits, where the truth is 0.
    - Heavy tails hide information, because most values lie in the same bucket, and make a linear cause that is shared look non-linear.
    - With few samples independent groups seem dependent (`few_samples`).

    Args:
        child_NC, parent_NC: activations of the same samples in the same order.
        child_bounds, parent_bounds: the groups of channels.
        factor: φ, if it depends on activations; else φ = 1.
        seed: of the ensemble's draws.

    Raises ConfigError for activations that are not finite, too few, or of different numbers of samples.
    """
    check_activations(child_NC, parent_NC)
    widths = ensemble_widths(bucket_width(len(child_NC)), MEMBERS)
    draws = draw_ensemble(MEMBERS, parent_NC.shape[1], seed, child_NC.device)
    members = [Member(width, *draw) for width, draw in zip(widths, draws, strict=True)]
    coordinates = Coordinates(child_NC, parent_NC, child_bounds, parent_bounds)
    conditions = [
        look_up(member.condition, quantise(coordinates.project_condition(member.direction_C))) for member in members
    ]
    information_GH = torch.empty(len(child_bounds), len(parent_bounds), dtype=torch.float64, device=child_NC.device)

    def fill(block: Block) -> None:
        information_GH[block] = block_information(block, coordinates, members, conditions, factor).T

    cells = max(prod(member.shape) for member in members)
    blocks = fitting_blocks(len(child_bounds), len(parent_bounds), len(child_NC), cells)
    run_in_threads(fill, blocks, child_NC.device)
    return information_GH


def few_samples(samples: int, parent_channels: int) -> bool:
    """Return whether there are fewer samples than twice the parent channels: then independent groups of several channels score up to 0.1 bits.

    The regression on the other parents follows the samples themselves, and what it leaves of two independent groups is dependent.
    """
    return samples < 2 * parent_channels


def block_information(
    block: Block,
    coordinates: Coordinates,
    members: list[Member],
    conditions_HN: list[Tensor],
    factor: BucketFactor | None,
) -> Tensor:
    """Return the information of the child and parent groups of a block, H×G."""
    children, parents = block
    samples = len(coordinates.parent_NC)
    excess_HG = coordinates.selection_excess(children, parents) * CURVATURE / samples
    x_steps_HGN, y_steps_HGN = map(quantise, coordinates.project_pairs(children, parents))
    estimates = []
    for member, condition_HN in zip(members, conditions_HN, strict=True):
        bucket_HGN = look_up(member.parent, y_steps_HGN) + condition_HN[parents, None]
        n_HGBKY = joint_counts(look_up(member.child, x_steps_HGN), bucket_HGN, member.shape)
        terms_HGKY, by_chance_HGKY = information_terms(n_HGBKY)
        n_HGKY = n_HGBKY.sum(2)
        terms_HGKY = terms_HGKY - by_chance_HGKY - n_HGKY * excess_HG[:, :, None, None]
        if factor is not None:
            terms_HGKY = terms_HGKY * factor.values(parents, children, bucket_HGN, n_HGKY)
        estimates.append(terms_HGKY.sum((2, 3)) / samples)
    return median(torch.stack(estimates))


def fitting_blocks(children: int, parents: int, samples: int, cells: int) -> Iterator[Block]:
    """Yield blocks of groups that fit the memory, for tables of `cells` cells: all children of several parents, or some of one parent's."""
    one_pair = samples * SAMPLE_BYTES + cells * CELL_BYTES
    # Cells of all tables of a block are numbered in 32 bits.
    fit = max(1, min(MEMORY_MB * 2**20 // one_pair, 2**31 // cells))
    children_at_once, parents_at_once = min(fit, children), max(1, fit // children)
    for child in range(0, children, children_at_once):
        for parent in range(0, parents, parents_at_once):
            last = min(child + children_at_once, children), min(parent + parents_at_once, parents)
            yield slice(child, last[0]), slice(parent, last[1])


def median(members_MHG: Tensor) -> Tensor:
    """Return the elementwise median over the first axis; of an even number the mean of the two in the middle."""
    ordered = members_MHG.sort(0).values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def run_in_threads(work: Callable[[Item], None], items: Iterable[Item], device: torch.device) -> None:
    """Call `work` on every item, without gradients; on a CPU in as many threads as PyTorch uses, each computing by itself.

    Tensors of a few megabytes do not keep several threads busy: an operation that is split between two takes hardly less time. Calls must
    not touch what other calls touch. The first error is raised, and items that have not been started are dropped.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        with torch.no_grad():
            for item in items:
                work(item)
        return
    pool = ThreadPoolExecutor(threads, initializer=use_one_thread)
    try:
        for _ in pool.map(work, items):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def use_one_thread() -> None:
    """Set up a thread of the pool: PyTorch keeps its number of threads and its gradient mode for each thread."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
