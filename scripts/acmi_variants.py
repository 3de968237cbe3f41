"""Variants of the hash estimator that pruning does not use, for one pair of groups: what each of its parts is worth."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from snip_cli.pruning.after_training.connections import Bounds
from snip_cli.pruning.after_training.snacs.acmi import MEMBERS
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
from tests.pruning.after_training.snacs.plain import Array, Draw, canonical, prepared, projected, selection_excess


def conditional_mutual_information(
    x_ND: Tensor,
    y_ND: Tensor,
    z_ND: Tensor,
    *,
    draws: list[Draw] | None = None,
    condition: list[int] | None = None,
    directions: int = 1,
    residual: bool = True,
    corrected: bool = True,
    width: float | None = None,
    seed: int = 0,
) -> float:
    """Return I(X; Y | Z) in bits, with the defaults as `layer_information` estimates it.

    Args:
        x_ND, y_ND, z_ND: N samples each; z may have 0 columns.
        draws, condition: of a whole layer, and z's channels in it; by default the ensemble is drawn with `seed` for y and z alone.
        directions: so many pairs of canonical directions are looked at, and their information is summed.
        residual: remove what z explains linearly.
        corrected: subtract what chance gives.
        width: of a bucket, in standard deviations; by default `bucket_width`.
    """
    own, rest = y_ND.shape[1], z_ND.shape[1]
    draws = draws or draw_ensemble(MEMBERS, own + rest, seed, torch.device("cpu"))
    condition = condition or list(range(own, own + rest))
    varying, x, y, z = prepared(*(v.double().numpy() for v in (x_ND, y_ND, z_ND)), residual=residual)
    pairs = [(steps(x @ a), steps(y @ b)) for a, b in canonical(x, y)[:directions]]
    excess = CURVATURE * selection_excess(*varying, directions) if corrected else 0.0
    estimates = []
    widths = ensemble_widths(width or bucket_width(len(x)), len(draws))
    for (direction_C, shifts), member_width in zip(draws, widths, strict=True):
        member = Member(member_width, direction_C, shifts)
        z_bucket = look_up(member.condition, steps(projected(z, direction_C.numpy()[condition])))
        total = 0.0
        for x_steps, y_steps in pairs:
            bucket = look_up(member.parent, y_steps) + z_bucket
            terms, by_chance = information_terms(joint_counts(look_up(member.child, x_steps), bucket, member.shape))
            total += float((terms - by_chance if corrected else terms).sum())
        estimates.append((total - excess) / len(x))
    return float(np.median(estimates))


def layer_information(
    child_NC: Tensor, parent_NC: Tensor, child_bounds: Bounds, parent_bounds: Bounds, **variant: float | None
) -> Tensor:
    """Return the same for every pair of groups of two layers, G×H; slow, pair by pair."""
    draws = draw_ensemble(MEMBERS, parent_NC.shape[1], 0, torch.device("cpu"))
    information_GH = torch.empty(len(child_bounds), len(parent_bounds), dtype=torch.float64)
    for h, (first, last) in enumerate(parent_bounds):
        rest = [channel for channel in range(parent_NC.shape[1]) if not first <= channel < last]
        for g, (start, end) in enumerate(child_bounds):
            information_GH[g, h] = conditional_mutual_information(
                child_NC[:, start:end],
                parent_NC[:, first:last],
                parent_NC[:, rest],
                draws=draws,
                condition=rest,
                **variant,
            )
    return information_GH


def steps(values_N: Array) -> Tensor:
    """Return quantised values of one pair of groups, 1×1×N."""
    return quantise(torch.from_numpy(values_N))[None, None]
