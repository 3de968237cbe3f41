"""phi, the factor of a bucket, where it depends on activations.

N samples, G child groups, H parent groups, K condition buckets, Y parent buckets.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.hashing import Bounds

# From w, the pair's weight, and a, the size of the parent's activation in a bucket.
FORMS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "activation": lambda w, a: a,
    "activation_sq": lambda w, a: a**2,
    "exp_activation": lambda w, a: torch.exp(-(a**2) / 2),
    "weight_activation": lambda w, a: w * a,
    "weight_activation_sq": lambda w, a: (w * a) ** 2,
    "exp_weight_activation": lambda w, a: torch.exp(-((w * a) ** 2) / 2),
}
PHIS = ("constant", *FORMS)


def check_phi(phi: str, weights_GH: Tensor | None, pairs: tuple[int, int]) -> None:
    """Raises ConfigError where phi is unknown, or needs weights that are not given or have another shape."""
    if phi not in PHIS:
        raise ConfigError(f"phi={phi} is unknown to the estimator: choose one of {', '.join(PHIS)}.")
    if "weight" in phi and (weights_GH is None or tuple(weights_GH.shape) != pairs):
        raise ConfigError(f"phi={phi} needs one weight for each pair of groups: give them in the shape {list(pairs)}.")


class Phi:
    """The factor of each (condition, parent) bucket: the form's value at the mean size of the parent's activation in the bucket's samples.

    The size of a group's activation in a sample is the root mean square over its channels, of activations as they are, divided by the
    layer's largest magnitude: in [0, 1]. The factor knows the child by the weight alone. So it multiplies a whole divergence (of the child
    given both buckets from the child given the condition's), and a cell without samples has a factor too.
    """

    def __init__(self, form: str, parent_NC: Tensor, bounds: Bounds, weights_GH: Tensor | None) -> None:
        scaled_NC = parent_NC.double() / parent_NC.abs().max().double().clamp_min(torch.finfo(torch.float64).tiny)
        self.sizes = [scaled_NC[:, first:last].square().mean(1).sqrt() for first, last in bounds]
        self.form = FORMS[form]
        self.weights_GH = weights_GH.to(scaled_NC) if "weight" in form else None

    def factors(self, parents: slice, children: slice, bucket_HGN: Tensor, n_HGKY: Tensor) -> Tensor:
        """Of ranges of parent and child groups, from each sample's bucket and the samples in each: [H, G, K, Y]."""
        size_HGN = torch.stack(self.sizes[parents])[:, None].expand(*n_HGKY.shape[:2], -1)
        start_HG1 = torch.arange(n_HGKY[..., 0, 0].numel(), device=n_HGKY.device).view(*n_HGKY.shape[:2], 1)
        key_HGN = bucket_HGN + start_HG1 * n_HGKY[0, 0].numel()
        # `bincount` with weights is refused on a GPU by deterministic=true.
        total = size_HGN.new_zeros(n_HGKY.numel()).index_add_(0, key_HGN.flatten(), size_HGN.flatten())
        mean_HGKY = total.view(n_HGKY.shape) / n_HGKY.clamp_min(1)
        weights_HG = mean_HGKY.new_ones(1, 1) if self.weights_GH is None else self.weights_GH[children, parents].T
        return self.form(weights_HG[:, :, None, None], mean_HGKY)
