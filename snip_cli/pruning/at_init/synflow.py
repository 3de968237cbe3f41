"""SynFlow: iterative synaptic flow pruning, without data (Tanaka et al., NeurIPS 2020).

The synaptic flow of a network is R = 1ᵀ (Π |θ|) 1, the sum of its outputs for an input of ones with every weight replaced by its absolute
value; a weight's score is |θ| ⊙ ∂R/∂|θ|. Scores are computed anew in each of 100 rounds, along an exponential schedule.
As R is a product of the weights of all layers, the scores of every layer add up to R. Biases are not in R and are kept: by their scores,
which are 0 at initialisation, all would be removed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError, RunError
from snip_cli.models.prunable import PRUNABLE_LAYERS, prunable_parameters
from snip_cli.pruning.at_init.rounds import prune_in_rounds
from snip_cli.pruning.batches import Inputs, call_model, map_tensors
from snip_cli.pruning.conditions import scoring_mode
from snip_cli.pruning.mask import Mask, kept_count
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Scores, Stage, register
from snip_cli.pruning.options import option

# Layers that do not pass signals on in proportion, so that the flow through a weight means nothing.
MISFITS = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear, nn.LayerNorm, nn.GroupNorm, _InstanceNorm)

# Every entry of the input, instead of 1. The scores of a network of ReLUs have this factor and are otherwise the same, to the bit; an
# activation that is linear only near zero, such as ReLU6, passes the signal on too.
SIGNAL = 2.0**-100


@dataclass(frozen=True)
class SynflowOptions:
    """How many rounds."""

    rounds: int = option(100, "rounds of scoring and removing", at_least=1)


def check(model: nn.Module, example: Tensor | None, options: SynflowOptions) -> None:
    """Raise ConfigError if a layer of the model does not pass signals on in proportion."""
    for name, module in model.named_modules():
        unscaled = isinstance(module, _NormBase) and module.running_var is None
        if isinstance(module, MISFITS) or unscaled:
            raise ConfigError(
                f"method 'synflow' does not fit this model: its layer '{name}' ({type(module).__name__}) does not pass signals on in proportion, as convolution, linear, pooling and batch-norm layers do. Choose another model or method."
            )


@register(
    "synflow",
    stage=Stage.AT_INIT,
    gives=Gives.MASK,
    options=SynflowOptions,
    check=check,
    biases=Biases.KEPT,
    redraw=False,
)
def synflow(
    model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: SynflowOptions
) -> Pruned:
    """Return the mask of the last round. Of the batches only the shape of an example is used.

    Raises:
        ConfigError: the model has a layer that does not pass signals on in proportion.
        RunError: every score of a round is zero.
    """
    check(model, None, options)
    inputs, _ = next(iter(batches))
    parameters = prunable_parameters(model)
    weights = {name: p for name, p in parameters.items() if p.dim() > 1}
    kept = kept_count(sum(p.numel() for p in parameters.values()), float(request.sparsity))
    biases = {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items() if p.dim() == 1}
    kept -= sum(keep.numel() for keep in biases.values())

    def score(mask: Mask) -> Scores:
        return synaptic_flow(model, inputs, mask)

    rounds = options.rounds if kept else 1  # without a weight there is no flow, and a further round could not score
    chosen = prune_in_rounds(weights, kept, rounds, score)
    mask = {name: biases[name] if name in biases else chosen[name] for name in parameters}
    return Pruned(mask, prunings=rounds)


def synaptic_flow(model: nn.Module, inputs: Inputs, mask: Mask) -> Scores:
    """Return |θ| ⊙ ∂R/∂|θ| of the weights in `mask`, times SIGNAL, in float64, of the network without what the mask prunes.

    Raises:
        RunError: every score is zero.
    """
    state = flow_state(model, mask)
    weights = [state[name].requires_grad_() for name in mask]
    with scoring_mode(model, trains=lambda module: False), torch.enable_grad():
        outputs = call_model(_with_state(model, state), map_tensors(_signal, inputs))
        gradients = torch.autograd.grad(_sum(outputs), weights, allow_unused=True, materialize_grads=True)
    scores = {name: w.detach() * g for name, w, g in zip(mask, weights, gradients, strict=True)}
    if not any(bool(score.any()) for score in scores.values()):
        cut = not all(keep.all() for keep in mask.values())
        remedy = (
            "what is left no longer connects input and output. Choose a lower sparsity"
            if cut
            else "choose another init"
        )
        raise RunError(f"The synaptic flow is zero, so the scores cannot rank connections: {remedy}.")
    return scores


def flow_state(model: nn.Module, mask: Mask) -> dict[str, Tensor]:
    """Return parameters and buffers for the flow, in float64: absolute values, pruned ones 0; biases and means, which shift signals, 0."""
    # A parameter that two layers share has the name that the mask has.
    names = {parameter: name for name, parameter in prunable_parameters(model).items()}
    held = [(names.get(p, name), p) for name, p in model.named_parameters()] + [*model.named_buffers()]
    layers = [module for module in model.modules() if isinstance(module, (*PRUNABLE_LAYERS, _NormBase))]
    shifts = [getattr(layer, name, None) for layer in layers for name in ("bias", "running_mean")]
    state = {}
    for name, tensor in held:
        value = tensor.detach().double().abs() if tensor.is_floating_point() else tensor.detach()
        if any(tensor is shift for shift in shifts):
            value = torch.zeros_like(value)
        state[name] = value * mask[name] if name in mask else value
    return state


def _with_state(model: nn.Module, state: dict[str, Tensor]) -> Callable[..., Any]:
    """Return the model as a function that uses other parameters and buffers."""
    return lambda *inputs, **named: functional_call(model, state, inputs, named)


def _signal(tensor: Tensor) -> Tensor:
    """Return the input of the flow that has the form of a batch's: one example. Whole numbers, which may be indices, stay."""
    one = tensor[:1] if tensor.dim() > 0 else tensor
    return torch.full_like(one, SIGNAL, dtype=torch.float64) if one.is_floating_point() else one


def _sum(outputs: Any) -> Tensor:
    """Return the sum of all real numbers that a network returns."""
    sums: list[Tensor] = []

    def add(tensor: Tensor) -> Tensor:
        sums.extend([tensor.sum()] * tensor.is_floating_point())
        return tensor

    map_tensors(add, outputs)
    return torch.stack(sums).sum()
