"""`method=snacs`: activations → connectivity → limits → sensitivity → mask, each step kept (Ganesh et al. 2020)."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.pruning.after_training.activations import require_enough_images, sample_activations
from snip_cli.pruning.after_training.connections import GroupedPair, group_pair
from snip_cli.pruning.after_training.layer_pairs import PAIRS, example_of, find_pairs, layer_names
from snip_cli.pruning.after_training.selection import prune_connections
from snip_cli.pruning.after_training.snacs.acmi import few_samples, layer_information
from snip_cli.pruning.after_training.snacs.limits import ProbedLayer, find_limits, probe_layer
from snip_cli.pruning.after_training.snacs.phi import PHIS, WEIGHT_FACTORS, BucketFactor, scaled_weights
from snip_cli.pruning.after_training.snacs.probe import (
    first_classes,
    guessing_accuracy,
    input_means,
    layers_that_fit,
    require_classes,
)
from snip_cli.pruning.after_training.snacs.sensitivity import PROTECT, filter_sensitivity, protected_groups
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Stage, Start, register
from snip_cli.pruning.options import option

log = logging.getLogger("snip_cli")

# The smallest information that a factor of the weights multiplies, in bits. Below 0 a larger factor would lower the score. EDGE's code
# clips at the same value.
SMALLEST = 0.001
# Layers that a warning names at most.
LISTED = 6


@dataclass(frozen=True)
class SnacsOptions:
    """Options of SNACS."""

    groups: int = option(64, "most groups of a layer's channels; 0: each channel is a group", at_least=0)
    pairs: str = option("all", "pairs of consecutive layers, or those in the authors' code (published)", choices=PAIRS)
    phi: str = option("magnitude", "what scales the information", choices=PHIS)
    limit_slack: float = option(
        0.7,
        "part of the probe's range of accuracy that a layer's limit may cost",
        at_least=0.0,
        at_most=1.0,
        in_steps=False,
    )
    probe_classes: int = option(
        100, "most classes that the probe tells apart; its time is quadratic in them", at_least=2
    )
    protect: str = option(
        "highest", "filters that keep all connections, by sensitivity", choices=PROTECT, in_steps=False
    )
    protect_fraction: float = option(
        0.05, "part of a layer's groups that is protected", at_least=0.0, at_most=1.0, in_steps=False
    )


def check(model: nn.Module, example_1CHW: Tensor, options: SnacsOptions) -> None:
    """Raise ConfigError if the network has no pairs of layers to prune."""
    find_pairs(model, example_1CHW, which=options.pairs)


@register(
    "snacs",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    options=SnacsOptions,
    check=check,
    finds_sparsity=True,
    biases=Biases.KEPT,
    redraw=False,
)
def snacs(model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: SnacsOptions) -> Pruned:
    """Remove the connections with the lowest connectivity, up to each layer's limit; `batches` is a class-balanced sample.

    A number as sparsity sets one threshold over all layers, which removes that part of the network's prunable parameters, or as much as the
    limits allow. `auto` prunes every layer to its limit. Biases stay.

    Raises ConfigError if the network or its activations do not fit.
    """
    example = example_of(batches)
    pairs = find_pairs(model, example, which=options.pairs)
    grouped = {pair.child: group_pair(model, pair, options.groups) for pair in pairs}
    scaled = scaled_weights(model)
    activations = request.steps.do("activations", lambda: sample_activations(model, batches, layer_names(pairs)))
    require_enough_images(model, example, activations[""])
    warn_of_few_images(len(activations[""]), grouped)
    labels_N = activations[""][activations[""] < options.probe_classes]
    require_classes(labels_N)
    first_seed = request.generator.initial_seed()

    def score(child: str) -> Tensor:
        seed = first_seed + list(grouped).index(child)
        weight = model.get_parameter(f"{child}.weight")
        return connectivity(
            activations, weight, scaled[child], grouped[child], phi=options.phi, device=example.device, seed=seed
        )

    scores = request.steps.each("scores", list(grouped), score)
    probed = probe_layers(model, batches, grouped, scores, labels_N, request, options)
    limits = find_limits(probed, scores, slack=options.limit_slack, guessing=guessing_accuracy(labels_N))
    protected = {
        child: protected_groups(sensitivity_G, protect=options.protect, fraction=options.protect_fraction)
        for child, sensitivity_G in filter_sensitivity(model, grouped.values()).items()
    }
    return prune_connections(model, grouped, scores, limits, protected, request.sparsity)


def warn_of_few_images(images: int, grouped: Mapping[str, GroupedPair]) -> None:
    """Warn of layers whose scores show information where there is none, because there are few images for the channels before them."""
    few = [child for child, each in grouped.items() if few_samples(images, each.parent_channels)]
    if few:
        most = max(grouped[child].parent_channels for child in few)
        log.warning(
            "the scores of %s are unreliable: they come from %d images, fewer than twice the %d channels before the layer; "
            "raise method.samples_per_class until there are %d images",
            ", ".join(few[:LISTED]) + (f" and {len(few) - LISTED} more layers" if len(few) > LISTED else ""),
            images,
            most,
            2 * most,
        )


def connectivity(
    activations: Mapping[str, Tensor],
    weight: Tensor,
    scaled: Tensor,
    grouped: GroupedPair,
    *,
    phi: str,
    device: torch.device,
    seed: int = 0,
) -> Tensor:
    """Return the scores ρ = φ · CMI of a pair's connections: float64 G×H on the CPU, larger = keep.

    Args:
        activations: N×C by layer (`sample_activations`).
        weight: the child's.
        scaled: the same, scaled over the network (`scaled_weights`).
        grouped: the pair and its groups.
        phi: one of PHIS.
        device: computes the information.
        seed: of the estimator's draws.
    """
    child_NC, parent_NC = (activations[name].to(device) for name in (grouped.child, grouped.pair.parent))
    parent_NC = parent_NC[:, : grouped.parent_channels]
    w_GH = grouped.block_means(scaled).cpu()
    factor = None
    if phi not in WEIGHT_FACTORS:
        factor = BucketFactor(phi, parent_NC, grouped.parent_bounds, w_GH.to(device))
    information_GH = layer_information(
        child_NC,
        parent_NC,
        child_bounds=grouped.child_bounds,
        parent_bounds=grouped.parent_bounds,
        factor=factor,
        seed=seed,
    ).cpu()
    if factor is not None:
        return information_GH.clamp_min(0.0)
    m_GH = grouped.block_means(weight.detach().double().abs()).cpu()
    return WEIGHT_FACTORS[phi](w_GH, m_GH) * information_GH.clamp_min(SMALLEST)


def probe_layers(
    model: nn.Module,
    batches: Iterable[Batch],
    grouped: Mapping[str, GroupedPair],
    scores: Mapping[str, Tensor],
    labels_N: Tensor,
    request: Request,
    options: SnacsOptions,
) -> dict[str, ProbedLayer]:
    """Return what the probe sees of every child with the images of the first `probe_classes` classes, whose classes are `labels_N`.

    The network runs on these images once for as many layers as fit into memory together, without layers that the steps hold already.
    """
    means: dict[str, Tensor] = {}

    def probe(child: str) -> dict[str, Any]:
        if child not in means:
            left = list(grouped)[list(grouped).index(child) :]
            layers = layers_that_fit(model, left, len(labels_N))
            means.update(input_means(model, first_classes(batches, options.probe_classes), layers))
        return asdict(probe_layer(model, grouped[child], scores[child], means.pop(child), labels_N))

    probed = request.steps.each("limits", list(grouped), probe)
    # The steps of earlier versions hold limits, too.
    names = [spec.name for spec in fields(ProbedLayer)]
    return {child: ProbedLayer(**{name: each[name] for name in names}) for child, each in probed.items()}
