"""L-OBS: layer-wise optimal brain surgeon (Dong, Chen and Pan, NeurIPS 2017).

A layer's error is the mean squared change of its outputs before the non-linearity. Its Hessian is the same for every output unit,
H = mean of x·xᵀ over what the layer reads, plus `damping` on the diagonal: pixels at the border never change, and without it H could not be
inverted. Removing weight q of a unit and adapting the unit's other weights raises the error by w_q²/(2·[H⁻¹]_qq), its saliency.

The paper prunes each layer to a sparsity that is chosen by hand. Here one threshold serves all layers: a saliency counts as a part of the
mean square of its layer's outputs. In each round the smallest go. All other weights and the bias of a unit get the values that change its
outputs least, and the network is trained on. Biases are adapted but never removed.

From the second round on each unit has weights of its own left, hence a Hessian of its own, a part of H. The paper's recursive formula gives
the inverse of the whole H while images are read; that of a part is computed from the part itself, by Cholesky. In a large network this takes
most of the time, so a round says beforehand how long.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.pruning.after_training.layer_inputs import (
    Layer,
    applications,
    check_layers,
    images_at_a_time,
    layers_of,
    rows_of,
)
from snip_cli.pruning.after_training.rounds import kept_before, round_mask, rounds_at_rate
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Stage, Start, register
from snip_cli.pruning.options import option
from snip_cli.runtime.words import duration

log = logging.getLogger("snip_cli")

# The sum of the cubed sizes of a round's matrices from which on it says how long it will take: about a minute on one core.
LARGE = 1e12
# The size of the matrix whose inverse is timed for that.
TIMED = 1024


@dataclass(frozen=True)
class LObsOptions:
    """How much a round removes, and the damping of the Hessians."""

    rate: float = option(0.5, "part of the weights left that a round removes", above=0.0, below=1.0)
    damping: float = option(1e-4, "added to the diagonal of every Hessian, as a part of its mean", above=0.0)


@register(
    "l_obs",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    options=LObsOptions,
    check=lambda model, example, options: check_layers(model, example, "l_obs"),
    biases=Biases.KEPT,
    redraw=False,
    rounds=rounds_at_rate,
)
def l_obs(model: nn.Module, batches: Sequence[Batch], loss: Loss, request: Request, options: LObsOptions) -> Pruned:
    """Return the mask of one round, the adapted weights and biases, and by layer the error that the round costs.

    `error` is the squared change of a layer's outputs, as a part of the mean square of its outputs.
    """
    layers, left = layers_of(model), kept_before(model, request)
    hessians = layer_hessians(model, batches, options.damping)
    warn_of_time(layers, hessians, left, 1 - options.rate)
    scores = {
        name: saliencies(layer, hessians[name], left[name]) / output_size(hessians[name], with_bias(layer))
        for name, layer in layers.items()
    }
    mask = round_mask(model, request, scores)
    weights, findings = adapted(layers, hessians, mask)
    return Pruned(mask, layers=findings, weights=weights)


def layer_hessians(model: nn.Module, batches: Sequence[Batch], damping: float) -> dict[str, Tensor]:
    """Return the damped Hessian of every layer, by its weight's name: G×K×K in float64; a bias is a last input, which is always 1."""
    layers = layers_of(model)
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(layers, 0)
    with applications(model) as seen, torch.no_grad():
        for inputs, _ in batches:
            model(inputs)
            for name, layer in layers.items():
                for part in seen[name].inputs.split(images_at_a_time(layer, seen[name].inputs)):
                    rows_GRK = rows_of(layer, part).transpose(0, 1).flatten(1, 2).double()
                    if layer.bias is not None:
                        rows_GRK = torch.cat([rows_GRK, rows_GRK.new_ones(*rows_GRK.shape[:2], 1)], dim=2)
                    sums[name] = sums.get(name, 0) + rows_GRK.mT @ rows_GRK
                    counts[name] += rows_GRK.shape[1]
    means = {name: total / counts[name] for name, total in sums.items()}
    return {
        name: mean + damping * diagonal_mean(mean) * torch.eye(mean.shape[-1]).to(mean) for name, mean in means.items()
    }


def warn_of_time(layers: dict[str, Layer], hessians: dict[str, Tensor], left: Mask, kept: float) -> None:
    """Warn of a round that takes more than about a minute, of whose weights `left` it keeps about the part `kept`."""
    cubes, sizes = 0.0, {name: left[name].flatten(1).sum(dim=1).double() for name in layers}
    for name, of_units in sizes.items():
        # In the first round all units share one inverse. A Cholesky factor, of which adapting needs no more, is a third of an inverse.
        inverted = of_units[:1] if left[name].all() else of_units
        cubes += float(inverted.pow(3).sum() + of_units.mul(kept).pow(3).sum() / 3)
    if cubes > LARGE:
        largest = max(int(of_units.max()) for of_units in sizes.values())
        log.warning(
            "l_obs: this round solves for each of %s output units by itself, with matrices of up to %s×%s: about %s",
            *(f"{sum(map(len, sizes.values())):,}", f"{largest:,}", f"{largest:,}"),
            duration(cubes / TIMED**3 * seconds_of_inverse(next(iter(hessians.values())))),
        )


def seconds_of_inverse(like: Tensor) -> float:
    """Return the duration of inverting a matrix of the size TIMED on the device and in the type of `like`."""
    matrix = torch.eye(TIMED).to(like)
    for _ in range(2):  # the first time takes longer
        started = time.perf_counter()
        inverse(matrix).diagonal().sum().item()
        seconds = time.perf_counter() - started
    return seconds


def diagonal_mean(matrices_GKK: Tensor) -> Tensor:
    """Return the mean of the matrices' diagonals, 1 where it is zero."""
    mean = matrices_GKK.diagonal(dim1=1, dim2=2).mean()
    return torch.where(mean > 0, mean, 1)


def units(layer: Layer, hessians_GKK: Tensor, keep: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Return, for each output unit, its number, its group's Hessian, and which of its inputs it has left, the bias included."""
    kept_OK = keep.flatten(1)
    if layer.bias is not None:
        kept_OK = torch.cat([kept_OK, kept_OK.new_ones(len(kept_OK), 1)], dim=1)
    of_a_group = len(kept_OK) // len(hessians_GKK)
    for number, kept_K in enumerate(kept_OK):
        yield number, hessians_GKK[number // of_a_group], kept_K.nonzero().squeeze(1)


def with_bias(layer: Layer) -> Tensor:
    """Return the layer's weights, O×K in float64, with the bias as a last column."""
    weights_OK = layer.weight.detach().flatten(1).double()
    return weights_OK if layer.bias is None else torch.cat([weights_OK, layer.bias.detach().double()[:, None]], dim=1)


def saliencies(layer: Layer, hessians_GKK: Tensor, keep: Tensor) -> Tensor:
    """Return w²/(2·[H⁻¹]_qq) for every weight in `keep`, with the inverse of the part of H that its unit has left; 0 for others."""
    weights_OK = with_bias(layer)
    found_OK = torch.zeros_like(weights_OK)
    last: tuple[Tensor, Tensor, Tensor] | None = None
    for number, hessian, kept in units(layer, hessians_GKK, keep):
        # In the first round all units have everything left.
        if last is None or last[0].data_ptr() != hessian.data_ptr() or not torch.equal(last[1], kept):
            last = hessian, kept, inverse(hessian[kept][:, kept]).diagonal()
        found_OK[number, kept] = weights_OK[number, kept].square() / (2 * last[2])
    return found_OK[:, : layer.weight[0].numel()].reshape(layer.weight.shape)


def squared_outputs(hessians_GKK: Tensor, weights_OK: Tensor) -> Tensor:
    """Return the mean square of the outputs that a layer with these weights has, summed over its units."""
    weights_GUK = weights_OK.view(len(hessians_GKK), -1, weights_OK.shape[1])
    return (weights_GUK @ hessians_GKK * weights_GUK).sum()


def output_size(hessians_GKK: Tensor, weights_OK: Tensor) -> Tensor:
    """Return the mean square of a layer's outputs, summed over its units; 1 where all are zero."""
    size = squared_outputs(hessians_GKK, weights_OK)
    return torch.where(size > 0, size, 1)


def inverse(hessian_KK: Tensor) -> Tensor:
    """Return the inverse of a positive definite matrix."""
    return torch.cholesky_inverse(torch.linalg.cholesky(hessian_KK))


def adapted(
    layers: dict[str, Layer], hessians: dict[str, Tensor], mask: Mask
) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Return the weights and biases that change the layers' outputs least under `mask`, and by layer what they change."""
    weights: dict[str, Tensor] = {}
    findings: dict[str, dict[str, float]] = {}
    for name, layer in layers.items():
        before_OK, path = with_bias(layer), name.rpartition(".")[0]
        after_OK = constrained(layer, hessians[name], mask[name])
        change = squared_outputs(hessians[name], after_OK - before_OK)
        findings[path] = {"error": float(change / output_size(hessians[name], before_OK))}
        inputs = layer.weight[0].numel()
        weights[name] = after_OK[:, :inputs].reshape(layer.weight.shape).to(layer.weight.dtype)
        if layer.bias is not None:
            weights[f"{path}.bias" if path else "bias"] = after_OK[:, inputs].to(layer.bias.dtype)
    return weights, findings


def constrained(layer: Layer, hessians_GKK: Tensor, keep: Tensor) -> Tensor:
    """Return the weights, with the bias as a last column, that are 0 outside of `keep` and change the layer's outputs least.

    With w the weights now, those in `keep` become w + H_kept⁻¹ · H_kept,removed · w_removed.
    """
    before_OK = with_bias(layer)
    after_OK = torch.zeros_like(before_OK)
    for number, hessian, kept in units(layer, hessians_GKK, keep):
        if len(kept):
            pull = hessian[kept] @ before_OK[number]
            after_OK[number, kept] = torch.cholesky_solve(pull[:, None], torch.linalg.cholesky(hessian[kept][:, kept]))[
                :, 0
            ]
    return after_OK
