"""Sparse variational dropout: Molchanov, Ashukha & Vetrov, "Variational Dropout Sparsifies Deep Neural Networks", ICML 2017.

Each weight has a Gaussian posterior N(θ, σ²). Training minimises the expected loss plus KL(posterior ‖ log-uniform prior) / N, for N training
images. The noise is drawn on the outputs of a layer (local reparametrisation), with variance Σ x²σ². The KL depends on α = σ²/θ² alone:

    -KL ≈ k₁ sigmoid(k₂ + k₃ log α) - ½ log(1 + 1/α) - k₁     (Eq. 14)

A weight with log α ≥ 3 is mostly noise, and is zero in the forward pass. The KL is left out at first and comes in gradually, as in the
authors' code. Biases have no posterior and are kept.

With `sparsity=auto` the threshold decides on the mask. With a number, the κ parameters with the smallest α are kept, and `metrics.json`
has the sparsity that the threshold found and the errors with it. The authors train by Adam and, for the rows of Table 1 of SNIP's paper,
from drawn weights; method.trained=true starts from the trained reference instead, which their script for LeNet-5 can do, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.pruning.kept_biases import KeptBiases, load_into, prunable_weights
from snip_cli.pruning.mask import Mask, apply_mask
from snip_cli.pruning.method import Biases, Gives, Stage, register
from snip_cli.pruning.options import option
from snip_cli.pruning.pruner import Plan, Pruner

NOISY_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# k₁, k₂, k₃ of Eq. 14.
K1, K2, K3 = 0.63576, 1.87320, 1.48695
# Both as in the authors' code: the bound of |log α|, and what keeps the logarithm and the root finite.
LARGEST, TINY = 8.0, 1e-8


@dataclass(frozen=True)
class VariationalOptions:
    """The defaults are those of the authors' code, whose 5th and 20th of 200 epochs are `kl_begin` and `kl_full`."""

    threshold: float = option(3.0, "log α from which on a weight is pruned", above=-LARGEST, below=LARGEST)
    log_variance: float = option(-10.0, "log σ² at the start")
    kl_begin: float = option(0.025, "part of the schedule after which the KL comes in", at_least=0, at_most=1)
    kl_full: float = option(0.1, "part of the schedule after which the KL has its full weight", at_least=0, at_most=1)


def check(model: nn.Module, example: Tensor, options: VariationalOptions) -> None:
    """Raise ConfigError if a weight belongs to a layer whose outputs do not have the variance Σ x²σ²."""
    noisy = {
        layer.weight
        for layer in model.modules()
        if isinstance(layer, NOISY_LAYERS) and type(layer).forward in [kind.forward for kind in NOISY_LAYERS]
    }
    others = [name for name, weight in prunable_weights(model).items() if weight not in noisy]
    if others:
        raise ConfigError(
            f"method 'sparse_vd' needs PyTorch's own linear layers and convolutions, and '{others[0]}' belongs to no such layer: choose another model or method."
        )


def kl_divergence(log_alpha: Tensor) -> Tensor:
    """Return the approximate KL of each weight from the log-uniform prior (Eq. 14)."""
    return K1 * torch.sigmoid(-K2 - K3 * log_alpha) + 0.5 * F.softplus(-log_alpha)


def noisy(find_variance: Callable[[], Tensor], layer: nn.Module, inputs: tuple[Tensor], outputs: Tensor) -> Tensor:
    """Return the outputs of a linear or convolution layer with noise; a forward hook."""
    if not layer.training:
        return outputs
    squares, variance = inputs[0] ** 2, find_variance()
    if isinstance(layer, nn.Linear):
        variances = F.linear(squares, variance)
    else:
        variances = layer._conv_forward(squares, variance, None)  # type: ignore[operator]  # of every convolution
    return outputs + (variances + TINY).sqrt() * torch.randn_like(outputs)


class VariationalPruner(Pruner):
    """Learns a variance for each weight, and prunes those with much of it."""

    changes_at_finish = True

    def __init__(self, model: nn.Module, plan: Plan, options: VariationalOptions) -> None:
        self._model, self._kept, self._threshold, self._images = model, plan.kept, options.threshold, plan.images
        self._kl_begin, self._kl_full = (
            part * plan.schedule.iterations for part in (options.kl_begin, options.kl_full)
        )
        self._iteration = 0
        self._final: Mask | None = None
        self._facts: dict[str, Any] = {}
        self._biases = KeptBiases(model)
        self._weights = prunable_weights(model)
        self._log_variances = {
            name: torch.full_like(weight, options.log_variance).requires_grad_()
            for name, weight in self._weights.items()
        }
        # What the forward pass uses, for the hooks and the penalty that follow it.
        self._log_alphas = self._find_log_alphas()
        names: dict[Tensor, str] = {weight: name for name, weight in self._weights.items()}
        self._hooks = [
            layer.register_forward_hook(partial(noisy, partial(self._variance, names[layer.weight])))
            for layer in model.modules()
            if isinstance(layer, NOISY_LAYERS) and layer.weight in names
        ]

    def _find_log_alphas(self) -> dict[str, Tensor]:
        return {
            name: (self._log_variances[name] - (weight**2 + TINY).log()).clamp(-LARGEST, LARGEST)
            for name, weight in self._weights.items()
        }

    def _variance(self, name: str) -> Tensor:
        return self._log_alphas[name].exp() * self._weights[name] ** 2

    @property
    def mask(self) -> Mask:  # type: ignore[override]  # it changes, which is what this pruner is for
        return self._final or self._biases.mask(self._found())

    def _found(self) -> dict[str, Tensor]:
        """Return which weights the threshold keeps."""
        return {name: log_alpha < self._threshold for name, log_alpha in self._log_alphas.items()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the log σ², which follow the schedule's rate and do not decay."""
        return [{"params": list(self._log_variances.values()), "weight_decay": 0.0}]

    def weights(self) -> dict[str, Tensor]:
        self._log_alphas = self._find_log_alphas()
        return {name: self._weights[name] * keep for name, keep in self._found().items()}

    def penalty(self) -> Tensor:
        """Return the KL of all weights per training image, times its weight at this iteration."""
        rise = (self._iteration - self._kl_begin) / max(self._kl_full - self._kl_begin, 1.0)
        kl = torch.stack([kl_divergence(log_alpha).sum() for log_alpha in self._log_alphas.values()]).sum()
        return min(max(rise, 0.0), 1.0) * kl / self._images

    def after_step(self, iteration: int) -> None:
        """Count the iteration, on which the weight of the KL depends."""
        self._iteration = iteration

    @torch.no_grad()
    def finish(self) -> None:
        """Keep what the threshold keeps, or exactly κ, and take the noise from the layers."""
        self._log_alphas = self._find_log_alphas()
        found = self._found()
        self._facts = self._biases.found(found)
        smallest = {name: -log_alpha for name, log_alpha in self._log_alphas.items()}
        self._final = self._biases.mask(found) if self._kept is None else self._biases.top(smallest, self._kept)
        apply_mask(self._model, self._final)
        for hook in self._hooks:
            hook.remove()

    def facts(self) -> dict[str, Any]:
        """Return how much the threshold keeps."""
        return self._facts

    def state(self) -> dict[str, Any]:
        return {
            "iteration": self._iteration,
            "log_variances": {name: each.detach() for name, each in self._log_variances.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._iteration = state["iteration"]
        load_into(self._log_variances, state["log_variances"])
        self._log_alphas = self._find_log_alphas()


@register(
    "sparse_vd",
    stage=Stage.DURING_TRAINING,
    gives=Gives.PRUNER,
    options=VariationalOptions,
    check=check,
    finds_sparsity=True,
    biases=Biases.KEPT,
    redraw=False,
)
def sparse_vd(model: nn.Module, plan: Plan, options: VariationalOptions) -> Pruner:
    """Return the pruner of sparse variational dropout."""
    plan.warn_unless_adam("sparse_vd")
    return VariationalPruner(model, plan, options)
