"""SNIP: single-shot network pruning by connection sensitivity (Lee, Ajanthan, Torr, ICLR 2019)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Batch, Loss
from snip_cli.registry import methods


@contextmanager
def scoring_mode(model: nn.Module) -> Iterator[None]:
    """Training mode with the batch-norm layers alone in inference mode, as the released code scores; afterwards all as it was.

    The whole model in inference mode would not do: cuDNN refuses a recurrent network's backward pass there. On a GPU
    products are computed in full float32, convolutions deterministically: a score's last bits decide which connection stays.
    """
    precision = torch.get_float32_matmul_precision()
    modes = {module: module.training for module in model.modules()}
    model.train()
    for module in modes:
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for module, training in modes.items():
            module.training = training


def connection_sensitivity(model: nn.Module, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    """Saliency s = |g| / Σ|g| of every prunable parameter for one batch (Eq. 6), g = ∂L/∂c at c = 1 (Eq. 5).

    By the chain rule g = w · ∂L/∂w, so that one forward and backward pass of the bare network gives it. All zero where g is.
    """
    inputs, labels = batch
    parameters = prunable_parameters(model)
    with scoring_mode(model), torch.enable_grad():
        value = loss(model(inputs), labels)
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, materialize_grads=True)
    sensitivity = {name: (p.detach() * g).abs_() for (name, p), g in zip(parameters.items(), gradients, strict=True)}
    total = torch.stack([s.sum() for s in sensitivity.values()]).sum()
    total = torch.where(total > 0, total, 1)
    return {name: s.div_(total) for name, s in sensitivity.items()}


@methods.register("snip")
def snip(
    model: nn.Module,
    batches: Sequence[Batch],
    loss: Loss,
    generator: torch.Generator,
    *,
    accumulate: str = "sum",
    ema_decay: float = 0.9,
) -> dict[str, Tensor]:
    """Scores: the connection sensitivity, of one batch or accumulated over several (Section 4.2 of Lee et al. 2019).

    Args:
        accumulate: `sum` adds the batches' saliencies, `ema` takes their exponential moving average.
        ema_decay: weight of what came before in the moving average, in [0, 1).

    Raises:
        ConfigError: an option is out of range.
        RunError: every saliency is zero.
    """
    if accumulate not in ("sum", "ema"):
        raise ConfigError(f"method.accumulate must be sum or ema, not {accumulate!r}.")
    if not 0.0 <= ema_decay < 1.0:
        raise ConfigError(f"method.ema_decay must lie in [0, 1), not {ema_decay}.")
    scores = connection_sensitivity(model, batches[0], loss)
    for batch in batches[1:]:
        for name, saliency in connection_sensitivity(model, batch, loss).items():
            if accumulate == "sum":
                scores[name].add_(saliency)
            else:
                scores[name].mul_(ema_decay).add_(saliency, alpha=1 - ema_decay)
    if not any(bool(score.any()) for score in scores.values()):
        raise RunError(
            "Every saliency is zero, so that there is nothing to choose by: use another init or saliency batch."
        )
    return scores
