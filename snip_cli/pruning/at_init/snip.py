"""SNIP: single-shot network pruning by connection sensitivity (Lee, Ajanthan, Torr, ICLR 2019)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from snip_cli.data.splits import Batch
from snip_cli.errors import RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.batches import call_loss, call_model
from snip_cli.pruning.method import Loss, Scores, Stage, register
from snip_cli.pruning.options import option


@dataclass(frozen=True)
class SnipOptions:
    """How the saliencies of several batches are combined (Section 4.2 of Lee et al. 2019)."""

    accumulate: str = option(
        "sum", "sum of the batches, or ema, their exponential moving average", choices=("sum", "ema")
    )
    ema_decay: float = option(0.9, "weight of the past in the moving average", at_least=0.0, below=1.0)


@contextmanager
def scoring_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in training mode but batch-norm in inference mode, as the released code does; restore all modes afterwards.

    Inference mode for the whole model would fail: cuDNN has no backward pass of a recurrent network there. On a GPU, products are
    computed in full float32 and convolutions deterministically, because the last bits of a score decide which connection stays. A recurrent
    layer with dropout does without cuDNN, whose dropout goes on from call to call and ignores seeds.
    """
    precision = torch.get_float32_matmul_precision()
    modes = {module: module.training for module in model.modules()}
    model.train()
    for module in modes:
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()
    torch.set_float32_matmul_precision("highest")
    try:
        own_dropout = any(isinstance(module, nn.RNNBase) and module.dropout > 0 for module in modes)
        with torch.backends.cudnn.flags(enabled=not own_dropout, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for module, training in modes.items():
            module.training = training


def connection_sensitivity(model: nn.Module, batch: Batch, loss: Loss) -> Scores:
    """Return the saliency s = |g| / Σ|g| of every prunable parameter for one batch (Eq. 6), with g = ∂L/∂c at c = 1 (Eq. 5).

    By the chain rule g = w · ∂L/∂w, so one forward and backward pass of the plain network is enough. If g is zero everywhere, so is s.
    """
    inputs, labels = batch
    parameters = prunable_parameters(model)
    with scoring_mode(model), torch.enable_grad():
        value = call_loss(loss, call_model(model, inputs), labels)
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, materialize_grads=True)
    sensitivity = {name: (p.detach() * g).abs_() for (name, p), g in zip(parameters.items(), gradients, strict=True)}
    total = _sum(sensitivity)
    if torch.isinf(total) and all(torch.isfinite(s).all() for s in sensitivity.values()):  # a loss that is scaled up
        largest = max(s.max() for s in sensitivity.values())
        sensitivity = {name: s.div_(largest) for name, s in sensitivity.items()}
        total = _sum(sensitivity)
    total = torch.where(total > 0, total, 1)
    return {name: s.div_(total) for name, s in sensitivity.items()}


def _sum(sensitivity: Scores) -> torch.Tensor:
    return torch.stack([s.sum() for s in sensitivity.values()]).sum()


@register("snip", stage=Stage.AT_INIT, options=SnipOptions, redraw=True)
def snip(
    model: nn.Module, batches: Sequence[Batch], loss: Loss, generator: torch.Generator, options: SnipOptions
) -> Scores:
    """Return the connection sensitivity of one batch, or of several, combined as the options say.

    Raises:
        RunError: every saliency of a weight is zero.
    """
    scores = connection_sensitivity(model, batches[0], loss)
    for batch in batches[1:]:
        for name, saliency in connection_sensitivity(model, batch, loss).items():
            if options.accumulate == "sum":
                scores[name].add_(saliency)
            else:
                scores[name].mul_(options.ema_decay).add_(saliency, alpha=1 - options.ema_decay)
    # Biases alone may have saliencies, those of the last layer; they rank nothing before it.
    weights = [score for score in scores.values() if score.dim() > 1] or list(scores.values())
    if not any(bool(score.any()) for score in weights):
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
