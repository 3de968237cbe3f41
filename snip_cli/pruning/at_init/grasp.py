"""GraSP: gradient signal preservation (Wang, Zhang, Grosse, ICLR 2020).

Removing a weight changes ‖g‖², the squared gradient of the loss, by about S = -θ ⊙ Hg (Eq. 8), and the weights with the highest S are
removed. The score, of which the largest are kept, is therefore θ ⊙ Hg. Gradient g and Hessian H are those of the weights; biases are kept,
as in the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.batches import call_loss, call_model, map_tensors
from snip_cli.pruning.conditions import scoring_mode
from snip_cli.pruning.method import Biases, Loss, Scores, Stage, register
from snip_cli.pruning.options import option


@dataclass(frozen=True)
class GraspOptions:
    """How the loss is computed."""

    temperature: float = option(200.0, "the outputs are divided by it, so that the softmax is not saturated", above=0.0)


@register("grasp", stage=Stage.AT_INIT, options=GraspOptions, biases=Biases.KEPT, redraw=False)
def grasp(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, generator: torch.Generator, options: GraspOptions
) -> Scores:
    """Return θ ⊙ Hg of every weight, with g and H summed over the batches, and 0 for biases, which are kept.

    Raises:
        ConfigError: the model or the loss has no second derivative.
        RunError: every score is zero.
    """
    parameters = prunable_parameters(model)
    weights = {name: p for name, p in parameters.items() if p.dim() > 1}
    products = hessian_gradient_product(model, batches, loss, list(weights.values()), options.temperature)
    scores = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for (name, weight), product in zip(weights.items(), products, strict=True):
        scores[name] = weight.detach() * product
    if not any(bool(score.any()) for score in scores.values()):
        raise RunError("Every score is zero, so the scores cannot rank connections: use another init or batch.")
    return scores


def hessian_gradient_product(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, weights: Sequence[Tensor], temperature: float
) -> list[Tensor]:
    """Return Hg, one tensor for each of `weights`, of the loss on the outputs divided by `temperature`, summed over the batches.

    Batch-norm is in training mode, as in the released code.
    """

    def gradients(batch: Batch, *, twice: bool) -> Sequence[Tensor]:
        outputs = map_tensors(lambda t: t / temperature if t.is_floating_point() else t, call_model(model, batch[0]))
        value = call_loss(loss, outputs, batch[1])
        return torch.autograd.grad(value, weights, create_graph=twice, allow_unused=True, materialize_grads=True)

    # cuDNN's recurrent layers and the fast attention kernels have no second derivative.
    with (
        scoring_mode(model, trains=lambda module: True),
        torch.backends.cudnn.flags(enabled=not _is_recurrent(model), deterministic=True, allow_tf32=False),
        sdpa_kernel(SDPBackend.MATH),
        torch.enable_grad(),
    ):
        totals = [torch.zeros_like(weight) for weight in weights]
        for batch in batches:
            for total, gradient in zip(totals, gradients(batch, twice=False), strict=True):
                total += gradient
        products = [torch.zeros_like(weight) for weight in weights]
        for batch in batches:
            own = gradients(batch, twice=True)
            product = torch.stack([(g * total).sum() for g, total in zip(own, totals, strict=True)]).sum()
            for sum_, part in zip(products, _second_derivative(product, weights), strict=True):
                sum_ += part
    return products


def _second_derivative(product: Tensor, weights: Sequence[Tensor]) -> Sequence[Tensor]:
    if not product.requires_grad:  # the loss is linear in the weights
        return [torch.zeros_like(weight) for weight in weights]
    try:
        return torch.autograd.grad(product, weights, allow_unused=True, materialize_grads=True)
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise
        raise ConfigError(
            f"method 'grasp' does not fit this model, which has no second derivative: {' '.join(str(error).split())}; choose another method."
        ) from error


def _is_recurrent(model: nn.Module) -> bool:
    return any(isinstance(module, nn.RNNBase) for module in model.modules())
