"""Connection sensitivity, the saliency of SNIP (Lee et al., ICLR 2019) and of the methods that compute it in rounds."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.batches import call_loss, call_model
from snip_cli.pruning.conditions import scoring_mode
from snip_cli.pruning.method import Loss, Scores


def sensitivity_of_batches(
    model: nn.Module,
    batches: Sequence[Batch],
    loss: Loss,
    *,
    decay: float | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Scores:
    """Return the connection sensitivity of one batch, or of several: their sum, or their moving average with `decay`.

    `weights` are those of `connection_sensitivity`.

    Raises:
        RunError: every saliency of a weight is zero.
    """
    scores = connection_sensitivity(model, batches[0], loss, weights)
    for batch in batches[1:]:
        for name, saliency in connection_sensitivity(model, batch, loss, weights).items():
            if decay is None:
                scores[name].add_(saliency)
            else:
                scores[name].mul_(decay).add_(saliency, alpha=1 - decay)
    # Biases alone may have saliencies, those of the last layer; they rank nothing before it.
    ranking = [score for score in scores.values() if score.dim() > 1] or list(scores.values())
    if not any(bool(score.any()) for score in ranking):
        of = " of a weight" if any(bool(score.any()) for score in scores.values()) else ""
        raise RunError(f"Every saliency{of} is zero, so the scores cannot rank connections: {_remedy(model)}.")
    return scores


def _remedy(model: nn.Module) -> str:
    """Say what to do about saliencies that are all zero: usually one layer, the last, starts with weights of zeros."""
    weights = {name: p for name, p in prunable_parameters(model).items() if p.dim() > 1}
    zeros = [name for name, weight in weights.items() if not weight.any()]
    if not zeros:
        return "use another init or saliency batch"
    return f"{zeros[-1]} is all zeros, so it passes no gradient to the layers before it. Draw it, as torch.nn.init.xavier_uniform_ does, or load pretrained weights"


def connection_sensitivity(
    model: nn.Module, batch: Batch, loss: Loss, weights: Mapping[str, Tensor] | None = None
) -> Scores:
    """Return the saliency s = |g| / Σ|g| of every prunable parameter for one batch (Eq. 6), with g = ∂L/∂c at c = 1 (Eq. 5).

    By the chain rule g = w · ∂L/∂w, so one forward and backward pass of the plain network is enough. If g is zero everywhere, so is s.

    Args:
        weights: by name, the values w to multiply with instead of the model's own.
    """
    inputs, labels = batch
    parameters = prunable_parameters(model)
    with scoring_mode(model), torch.enable_grad():
        value = call_loss(loss, call_model(model, inputs), labels)
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, materialize_grads=True)
    factors = parameters if weights is None else weights
    sensitivity = {name: (factors[name].detach() * g).abs_() for name, g in zip(parameters, gradients, strict=True)}
    total = _sum(sensitivity)
    if torch.isinf(total) and all(torch.isfinite(s).all() for s in sensitivity.values()):  # a loss that is scaled up
        largest = max(s.max() for s in sensitivity.values())
        sensitivity = {name: s.div_(largest) for name, s in sensitivity.items()}
        total = _sum(sensitivity)
    total = torch.where(total > 0, total, 1)
    return {name: s.div_(total) for name, s in sensitivity.items()}


def _sum(sensitivity: Scores) -> Tensor:
    return torch.stack([s.sum() for s in sensitivity.values()]).sum()
