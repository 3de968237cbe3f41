"""Connectivity scores ρ = φ · CMI of every connection of a pair, from the activations and weights of a trained network.

Shapes: N images, C channels of the child, P of the parent, G and H groups of them.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.acmi import layer_information
from snip_cli.pruning.after_training.snacs.activations import channel_means
from snip_cli.pruning.after_training.snacs.connections import Connections
from snip_cli.pruning.after_training.snacs.layers import inference
from snip_cli.pruning.after_training.snacs.pairs import Pair
from snip_cli.pruning.after_training.snacs.phi import FORMS
from snip_cli.pruning.after_training.snacs.weights import group_means

log = logging.getLogger("snip_cli")

# Bits. Less chance, the estimate of no information scatters around 0; below it a factor would turn the order round. EDGE's code clips at it too.
LEAST = 0.001

# φ of the mean weight w of a connection, scaled to [0, 1] over the network with its sign, and of its mean magnitude m, which is ours.
WEIGHT_FACTORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "constant": lambda w, m: torch.ones_like(w),
    "weight": lambda w, m: w,
    "weight_sq": lambda w, m: w.square(),
    "exp_weight": lambda w, m: torch.exp(-w.square() / 2),
    "magnitude": lambda w, m: m,
}


def sample_activations(model: nn.Module, batches: Iterable[Batch], pairs: list[Pair]) -> dict[str, Tensor]:
    """The layers' mean outputs, N×C each by name, and the images' classes N under the empty name; a warning names layers that are dead."""
    labels: list[Tensor] = []

    def noted() -> Iterator[Batch]:
        for images, classes in batches:
            labels.append(classes.cpu())
            yield images, classes

    names = dict.fromkeys(name for pair in pairs for name in (pair.parent, pair.child))
    means = channel_means(model, noted(), list(names))
    dead = [name for name, means_NC in means.items() if bool((means_NC == means_NC[0]).all())]
    if dead:
        log.warning("the outputs of %s are the same for every image: nothing can be learnt from them", ", ".join(dead))
    return {**means, "": torch.cat(labels)}


def require_enough(model: nn.Module, example_1CHW: Tensor, labels_N: Tensor) -> None:
    """Raise ConfigError for fewer images than the network tells classes apart."""
    with inference(model):
        classes = model(example_1CHW).shape[-1]
    if len(labels_N) < classes:
        raise ConfigError(
            f"{len(labels_N)} images are too few for {classes} classes: give some of each, as method.samples_per_class does."
        )


def check_phi(phi: str) -> None:
    """Raise ConfigError where no factor is called `phi`."""
    known = [*WEIGHT_FACTORS, *FORMS]
    if phi not in known:
        raise ConfigError(f"method.phi must be one of {', '.join(known)}, not {phi!r}.")


def connectivity(
    activations: Mapping[str, Tensor],
    weight: Tensor,
    scaled: Tensor,
    found: Connections,
    *,
    phi: str,
    device: torch.device,
    **estimator: Any,
) -> Tensor:
    """ρ of a pair's connections: float64 G×H on the CPU, larger = keep.

    Args:
        activations: N×C by layer, as `sample_activations` gives them.
        weight: the child's, as it is.
        scaled: the same, scaled over the network (`scaled_weights`).
        phi: one of WEIGHT_FACTORS, or a form with activations (`snip_cli.pruning.after_training.snacs.phi`).
        device: where to compute.
        estimator: what `layer_information` takes besides.

    Raises ConfigError for an unknown `phi`.
    """
    child_NC, parent_NP = (activations[name].to(device) for name in (found.pair.child, found.pair.parent))
    parent_NP = parent_NP[:, : found.parent_bounds[-1][1]]
    w_GH, m_GH = (
        group_means(values, found.child_bounds, found.parent_bounds, found.inputs).cpu()
        for values in (scaled, weight.detach().double().abs())
    )
    bounds = {"child_bounds": found.child_bounds, "parent_bounds": found.parent_bounds}
    check_phi(phi)
    if phi in WEIGHT_FACTORS:
        information_GH = layer_information(child_NC, parent_NP, **bounds, **estimator)
        return WEIGHT_FACTORS[phi](w_GH, m_GH) * information_GH.cpu().clamp_min(LEAST)
    return (
        layer_information(child_NC, parent_NP, **bounds, weights_GH=w_GH.to(device), phi=phi, **estimator)
        .cpu()
        .clamp_min(0.0)
    )
