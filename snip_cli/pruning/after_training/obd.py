"""OBD: optimal brain damage (LeCun, Denker and Solla, NeurIPS 1989).

The saliency of a weight is w²·h/2, the rise of the training loss when it is removed, where h is its entry on the diagonal of the Hessian.
h is that of the Gauss-Newton matrix, Σ_c (∂z·s_c/∂w)² averaged over images: z are the outputs of the network, and s_c the columns of a
square root of the Hessian of the loss in z. It is the exact diagonal wherever the outputs are piecewise linear in each single weight, as
they are with ReLU, pooling and batch-norm in inference mode, and it is never negative.

In each round the smallest saliencies of the whole network go, and the rest is trained on. Biases stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.pruning.after_training.layer_inputs import (
    applications,
    check_layers,
    images_at_a_time,
    layers_of,
    rows_of,
    units_of,
)
from snip_cli.pruning.after_training.rounds import round_mask, rounds_at_rate, weights_of
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Scores, Stage, Start, register
from snip_cli.pruning.options import option


@dataclass(frozen=True)
class ObdOptions:
    """How much a round removes."""

    rate: float = option(0.5, "part of the weights left that a round removes", above=0.0, below=1.0)


@register(
    "obd",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    options=ObdOptions,
    check=lambda model, example, options: check_layers(model, example, "obd"),
    biases=Biases.KEPT,
    redraw=False,
    rounds=rounds_at_rate,
)
def obd(model: nn.Module, batches: Sequence[Batch], loss: Loss, request: Request, options: ObdOptions) -> Pruned:
    """Return the mask of one round: the weights with the largest saliencies."""
    curvature = mean_curvature(model, batches, loss)
    scores = {name: weight.square() * curvature[name] / 2 for name, weight in weights_of(model).items()}
    return Pruned(round_mask(model, request, scores))


def mean_curvature(model: nn.Module, batches: Sequence[Batch], loss: Loss) -> Scores:
    """Return the diagonal of the Gauss-Newton matrix for every weight, mean over the images of all batches."""
    total = {name: torch.zeros_like(weight) for name, weight in weights_of(model).items()}
    images = 0
    for inputs, labels in batches:
        images += len(inputs)
        for name, sum_of_images in summed_curvature(model, inputs, labels, loss).items():
            total[name] += sum_of_images
    return {name: value / images for name, value in total.items()}


def summed_curvature(model: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss) -> Scores:
    """Return the diagonal of the Gauss-Newton matrix for every weight, summed over the images of one batch."""
    layers = layers_of(model)
    total = {name: torch.zeros_like(layer.weight) for name, layer in layers.items()}
    with applications(model) as seen, torch.enable_grad():
        outputs = model(inputs)
        for root in roots_of_curvature(outputs.detach(), labels, loss):
            gradients = torch.autograd.grad(
                (outputs * root).sum(), [seen[n].outputs for n in layers], retain_graph=True
            )
            for (name, layer), gradient in zip(layers.items(), gradients, strict=True):
                chunk = images_at_a_time(layer, seen[name].inputs)
                for inputs_of, gradient_of in zip(seen[name].inputs.split(chunk), gradient.split(chunk), strict=True):
                    squares_GOK = squared_gradients(rows_of(layer, inputs_of), units_of(layer, gradient_of))
                    total[name] += squares_GOK.view_as(total[name])
    return total


def roots_of_curvature(outputs_NC: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Return the columns s_c, C×N×C, with Σ_c s_c·s_cᵀ the Hessian of an image's loss in the network's outputs."""

    def of_one(output_C: Tensor, label: Tensor) -> Tensor:
        return loss(output_C[None], label[None])

    hessians_NCC = torch.func.vmap(torch.func.jacrev(torch.func.grad(of_one)))(outputs_NC, labels)
    values, vectors = torch.linalg.eigh(hessians_NCC)
    return (vectors * values.clamp_min(0).sqrt()[:, None, :]).permute(2, 0, 1)


def squared_gradients(rows_NGPK: Tensor, units_NGPO: Tensor) -> Tensor:
    """Return Σ_n (Σ_p unit·row)², G×O×K: the squared gradient of every weight, summed over images."""
    if rows_NGPK.shape[2] == 1:
        return torch.einsum("ngpo,ngpk->gok", units_NGPO.square(), rows_NGPK.square())
    return torch.einsum("ngpo,ngpk->ngok", units_NGPO, rows_NGPK).square().sum(dim=0)
