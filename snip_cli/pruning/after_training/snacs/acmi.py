"""Conditional mutual information by hashing: adaptive in its buckets, linear in the samples, all pairs of a layer at once.

After the estimator of Noshad et al. (2018, EDGE, Eq. 9), with a condition: X, Y and Z are hashed each on its own, and with r the share of samples in a bucket,

    I = sum over (i, j, k) of phi_ik · r_ik r_jk / r_k · g(r_ijk r_k / (r_ik r_jk))

for parent buckets i, child buckets j and condition buckets k, less what chance alone gives; the median over an ensemble of widths, shifts and directions of Z.
What Z explains linearly is taken out of X and Y first, and both are hashed along the directions in which they depend on each other most.

N samples, D dimensions, C channels, G child groups, H parent groups.
"""

from typing import Any

import torch
from torch import Tensor

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.bandwidth import default_bandwidth, ensemble_bandwidths
from snip_cli.pruning.after_training.snacs.divergence import DIVERGENCES
from snip_cli.pruning.after_training.snacs.hashing import Bounds, draw_members
from snip_cli.pruning.after_training.snacs.layer import Layer, Member
from snip_cli.pruning.after_training.snacs.phi import Phi, check_phi


def conditional_mutual_information(x_ND: Tensor, y_ND: Tensor, z_ND: Tensor, **options: Any) -> float:
    """I(X; Y | Z) of N samples each, in bits: X stands for the child, Y for the parent group, Z for the other parents; 0 columns of Z give I(X; Y).

    Options and errors are those of `layer_information`.
    """
    check_activations(x_ND, y_ND)
    check_activations(x_ND, z_ND)
    parent_ND = torch.cat([y_ND.double(), z_ND.double()], dim=1)
    x_bounds, y_bounds = [(0, x_ND.shape[1])], [(0, y_ND.shape[1])]
    return layer_information(x_ND, parent_ND, child_bounds=x_bounds, parent_bounds=y_bounds, **options).item()


@torch.no_grad()
def layer_information(
    child_NC: Tensor,
    parent_NC: Tensor,
    *,
    child_bounds: Bounds,
    parent_bounds: Bounds,
    phi: str = "constant",
    weights_GH: Tensor | None = None,
    divergence: str = "shannon",
    residual: bool = True,
    pairs: int = 1,
    members: int = 10,
    bandwidth: float | None = None,
    corrected: bool = True,
    seed: int = 0,
    memory_mb: int = 64,
) -> Tensor:
    """I(child group; parent group | all other parent channels) of every pair: [G, H], float64, on the activations' device; in bits for Shannon's g.

    `child_bounds`, `parent_bounds`: each group's first channel and the one after its last. `divergence`: `shannon` (g(t) = t log2 t) or `geometric`
    (g(t) = (t - 1)² / (2 (t + 1)), at most 1/2). `phi`: see `phi.py`; a form with a weight takes `weights_GH`. `residual`: take out what the other parents
    explain linearly before hashing (see `residual.py`), else hash the activations as they are. `pairs`: how many pairs of canonical directions of
    two groups are looked at and summed; time grows with them, and groups of one channel have one. `members`: of the ensemble. `bandwidth`: a
    bucket's width in standard deviations, else `default_bandwidth`. `corrected`: less the chance level. `seed`: of the ensemble's draws. `memory_mb`
    bounds what each of PyTorch's threads holds beyond a few float64 copies of the activations and, for each member, half a copy of N × H.

    Corrected, independent groups give about 0, on either side of it; a constant channel carries no information. Fewer pairs than channels make it a lower bound.
    Raises ConfigError for activations that are not finite, too few, or of different numbers of samples, for an unknown name, and for a bandwidth so
    small that a table would not fit.
    """
    check_activations(child_NC, parent_NC)
    check_phi(phi, weights_GH, (len(child_bounds), len(parent_bounds)))
    if divergence not in DIVERGENCES:
        raise ConfigError(f"divergence={divergence} is unknown: choose one of {', '.join(DIVERGENCES)}.")
    width = bandwidth or default_bandwidth(len(child_NC))
    draws = draw_members(members, parent_NC.shape[1], seed, child_NC.device)
    ensemble = [
        Member(w, draw, child_NC.device)
        for w, draw in zip(ensemble_bandwidths(width, members).tolist(), draws, strict=True)
    ]
    layer = Layer(child_NC, parent_NC, child_bounds, parent_bounds, residual=residual, pairs=pairs)
    factor = None if phi == "constant" else Phi(phi, parent_NC, parent_bounds, weights_GH)
    return layer.information(ensemble, divergence=divergence, phi=factor, corrected=corrected, memory_mb=memory_mb)


def check_activations(child_NC: Tensor, parent_NC: Tensor) -> None:
    """Raises ConfigError where the estimators cannot work with these activations."""
    if len(child_NC) != len(parent_NC):
        raise ConfigError(
            f"Child and parent have {len(child_NC)} and {len(parent_NC)} samples: collect both from the same samples in the same order."
        )
    if len(child_NC) < 2:
        raise ConfigError(f"Dependence cannot be estimated from {len(child_NC)} samples: give at least 2.")
    if not (torch.isfinite(child_NC).all() and torch.isfinite(parent_NC).all()):
        raise ConfigError("The activations are not finite: prune a network whose training did not diverge.")
