"""φ, the factor by which SNACS scales the information of a connection: of its weights, or of the activations in each bucket.

N samples, G child groups, H parent groups, K condition buckets, Y parent buckets.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from snip_cli.pruning.after_training.connections import Bounds

# φ as a function of a connection's mean weight w, scaled to [0, 1] over the network, and of its mean magnitude m. The last is our own.
WEIGHT_FACTORS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "constant": lambda w, m: torch.ones_like(w),
    "weight": lambda w, m: w,
    "weight_sq": lambda w, m: w.square(),
    "exp_weight": lambda w, m: torch.exp(-w.square() / 2),
    "magnitude": lambda w, m: m,
}
# φ as a function of w, and of a, the size of the parent's activation in a bucket.
ACTIVATION_FACTORS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "activation": lambda w, a: a,
    "activation_sq": lambda w, a: a**2,
    "exp_activation": lambda w, a: torch.exp(-(a**2) / 2),
    "weight_activation": lambda w, a: w * a,
    "weight_activation_sq": lambda w, a: (w * a) ** 2,
    "exp_weight_activation": lambda w, a: torch.exp(-((w * a) ** 2) / 2),
}
PHIS = (*WEIGHT_FACTORS, *ACTIVATION_FACTORS)


class BucketFactor:
    """φ of each (condition, parent) bucket: a form's value at the mean size of the parent's activation over the bucket's samples.

    The size of a group's activation in a sample is the root mean square over its channels, divided by the layer's largest magnitude, so that
    it lies in [0, 1]. The factor depends on the child only by the weight. So it multiplies a whole divergence (of the child given both
    buckets from the child given the condition's), and a cell without samples has a factor too.
    """

    def __init__(self, form: str, parent_NC: Tensor, bounds: Bounds, weights_GH: Tensor) -> None:
        scaled_NC = parent_NC.double() / parent_NC.abs().max().double().clamp_min(torch.finfo(torch.float64).tiny)
        self.sizes = [scaled_NC[:, first:last].square().mean(1).sqrt() for first, last in bounds]
        self.form = ACTIVATION_FACTORS[form]
        self.weights_GH = weights_GH.to(scaled_NC)

    def values(self, parents: slice, children: slice, bucket_HGN: Tensor, n_HGKY: Tensor) -> Tensor:
        """Return φ for ranges of parent and child groups, from each sample's bucket and the samples in each: H×G×K×Y."""
        size_HGN = torch.stack(self.sizes[parents])[:, None].expand(*n_HGKY.shape[:2], -1)
        start_HG1 = torch.arange(n_HGKY[..., 0, 0].numel(), device=n_HGKY.device).view(*n_HGKY.shape[:2], 1)
        key_HGN = bucket_HGN + start_HG1 * n_HGKY[0, 0].numel()
        # deterministic=true refuses `bincount` with weights on a GPU.
        total = size_HGN.new_zeros(n_HGKY.numel()).index_add_(0, key_HGN.flatten(), size_HGN.flatten())
        mean_HGKY = total.view(n_HGKY.shape) / n_HGKY.clamp_min(1)
        return self.form(self.weights_GH[children, parents].T[:, :, None, None], mean_HGKY)


def scaled_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of all convolutions and linear layers by name, float64, scaled to [0, 1] over the network.

    The minimum and maximum are taken over all of them, with signs: (w − min) / (max − min). The authors' code does the same, but over
    everything in the state dict, biases and batch-norm statistics included. If all weights are equal, all become 0.
    """
    weights = {
        name: layer.weight.detach().double()
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    low = min(float(weight.min()) for weight in weights.values())
    span = max(float(weight.max()) for weight in weights.values()) - low
    return {name: (weight - low) / (span or 1.0) for name, weight in weights.items()}
