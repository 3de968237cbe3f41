"""`method=snacs`: activations → connectivity → limits → sensitivity → mask, each step kept (Ganesh et al. 2020)."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.choice import prune_connections
from snip_cli.pruning.after_training.snacs.connections import Connections, check_groups, connections
from snip_cli.pruning.after_training.snacs.connectivity import (
    check_phi,
    connectivity,
    require_enough,
    sample_activations,
)
from snip_cli.pruning.after_training.snacs.input_means import first_that_fit, input_means
from snip_cli.pruning.after_training.snacs.limits import GRID, SLACK, check_sweep, connections_limit
from snip_cli.pruning.after_training.snacs.pairs import find_pairs
from snip_cli.pruning.after_training.snacs.probe import guessing, probed, require_classes
from snip_cli.pruning.after_training.snacs.sensitivity import filter_sensitivity, protected_groups
from snip_cli.pruning.after_training.snacs.weights import scaled_weights
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Sparsity, Stage, Start, register
from snip_cli.pruning.options import option
from snip_cli.runfolder.steps import Steps

log = logging.getLogger("snip_cli")

# Of the way from guessing to no mistake: an unpruned layer by which the probe gets no further tells it as good as nothing.
BLIND = 0.05


def snacs(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    generator: torch.Generator,
    sparsity: Sparsity,
    steps: Steps,
    *,
    groups: int = 64,
    pairs: str = "all",
    phi: str = "magnitude",
    limit_slack: float = 0.7,
    probe_classes: int = 100,
    protect: str = "highest",
    protect_fraction: float = 0.05,
) -> Pruned:
    """The mask that removes the connections with the lowest connectivity, no more of any layer than its limit.

    A number as `sparsity` sets one threshold over all layers, which removes as many of the network's prunable parameters as that, or as
    many as the limits allow; `auto` prunes every layer to its limit. Biases stay.

    Args:
        batches: a class-balanced sample of training images.
        groups: of a layer's channels, between which connections run (at most); 0 for one a channel.
        pairs: `all` pairs of consecutive layers, or those that were `published`.
        phi: how weights and activations enter the score (see `snip_cli.pruning.after_training.snacs.connectivity`).
        limit_slack: how far a layer's limit lets the probe's accuracy fall (see `layer_limit`).
        probe_classes: how many classes, the first ones, the probe tells apart at most; its time grows with their square.
        protect, protect_fraction: which filters keep all their connections (see `protected_groups`).

    Raises:
        ConfigError: an option is out of range, or the network or its activations do not fit.
    """
    example = next(iter(batches))[0][:1]
    chosen = {"limit_slack": limit_slack, "protect": protect, "protect_fraction": protect_fraction}
    check(model, example, groups=groups, pairs=pairs, phi=phi, probe_classes=probe_classes, **chosen)
    found = {pair.child: connections(model, pair, groups) for pair in find_pairs(model, example, which=pairs)}
    scaled, device = scaled_weights(model), example.device
    activations = steps.do(
        "activations", lambda: sample_activations(model, batches, [each.pair for each in found.values()])
    )
    require_enough(model, example, activations[""])
    labels_N = activations[""][activations[""] < probe_classes]
    require_classes(labels_N)
    first_seed = generator.initial_seed()

    def score(child: str) -> Tensor:
        seed = first_seed + list(found).index(child)
        weight = model.get_submodule(child).weight
        return connectivity(activations, weight, scaled[child], found[child], phi=phi, device=device, seed=seed)

    scores = steps.each("scores", list(found), score)
    limits = find_limits(model, batches, found, scores, labels_N, probe_classes, limit_slack, steps)
    sensitivity = filter_sensitivity(model, [each.pair for each in found.values()], groups=groups)
    protected = {
        child: protected_groups(sensitivity[child], protect=protect, fraction=protect_fraction) for child in found
    }
    return prune_connections(model, found, scores, limits, protected, sparsity)


def find_limits(
    model: nn.Module,
    batches: Iterable[Batch],
    found: dict[str, Connections],
    scores: dict[str, Tensor],
    labels_N: Tensor,
    classes: int,
    slack: float,
    steps: Steps,
) -> dict[str, dict[str, Any]]:
    """The upper limit of every child, as plain Python, by the images of the first `classes` classes, which `labels_N` names.

    The network runs on them once for as many layers, of those that are not kept in `steps`, as fit into memory together. A warning names
    the layers of which the probe sees nothing, and they are `bound_by` chance.
    """
    means: dict[str, Tensor] = {}

    def limit(child: str) -> dict[str, Any]:
        if child not in means:
            left = list(found)[list(found).index(child) :]
            block = first_that_fit(model, left, len(labels_N))
            means.update(input_means(model, probed(batches, classes), block))
        made = connections_limit(model, found[child], scores[child], means.pop(child), labels_N, slack=slack)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(made).items()}

    limits = steps.each("limits", list(found), limit)
    guessed = guessing(labels_N)
    blind = [name for name, each in limits.items() if each["unpruned"] - guessed < BLIND * (1 - guessed)]
    if blind:
        log.warning(
            "limits set by chance: %s, by whose outputs the probe tells the classes hardly better than by guessing",
            ", ".join(blind),
        )
    return limits | {name: limits[name] | {"bound_by": "chance"} for name in blind}


def check(
    model: nn.Module,
    example_1CHW: Tensor,
    *,
    groups: int = 0,
    pairs: str = "all",
    phi: str = "constant",
    limit_slack: float = SLACK,
    probe_classes: int = 2,
    protect: str = "none",
    protect_fraction: float = 0.0,
) -> None:
    """Raise ConfigError for what can be known before any network is trained: an option out of range, a network that does not fit.

    `example_1CHW` lies on the model's device, which may be `meta`.
    """
    check_groups(groups)
    check_phi(phi)
    check_sweep(GRID, limit_slack)
    protected_groups(torch.zeros(1), protect=protect, fraction=protect_fraction)
    if probe_classes < 2:
        raise ConfigError(f"method.probe_classes must be at least 2, not {probe_classes}.")
    find_pairs(model, example_1CHW, which=pairs)


@dataclass(frozen=True)
class SnacsOptions:
    """Options of SNACS."""

    groups: int = option(64, "groups of a layer's channels; 0 for one a channel", at_least=0)
    pairs: str = option("all", "pairs of consecutive layers", choices=("all", "published"))
    phi: str = option("magnitude", "what scales the information")
    limit_slack: float = option(0.7, "how much of the probe's range of accuracy a layer's limit may cost")
    probe_classes: int = option(100, "classes that the probe tells apart at most")
    protect: str = option("highest", "filters whose connections all stay")
    protect_fraction: float = option(0.05, "part of a layer's groups that is protected")


def check_options(model: nn.Module, example_1CHW: Tensor, options: SnacsOptions) -> None:
    """Run `check` with an options dataclass."""
    check(model, example_1CHW, **asdict(options))


@register(
    "snacs",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    options=SnacsOptions,
    check=check_options,
    finds_sparsity=True,
    biases=Biases.KEPT,
    redraw=False,
)
def snacs_method(
    model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: SnacsOptions
) -> Pruned:
    """Run `snacs` with an options dataclass."""
    return snacs(model, batches, loss, request.generator, request.sparsity, request.steps, **asdict(options))
