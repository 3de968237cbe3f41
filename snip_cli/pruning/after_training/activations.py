"""The activations of a trained network's layers on a class-balanced sample: one number an image and channel.

Shapes: N images, C output channels of a layer, H×W the places of its output.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.layer_pairs import inference
from snip_cli.pruning.batches import call_model

log = logging.getLogger("snip_cli")


def sample_activations(model: nn.Module, batches: Iterable[Batch], layers: Collection[str]) -> dict[str, Tensor]:
    """Return the layers' mean outputs by name (N×C), and the images' classes (N) under the empty name.

    A warning lists layers whose outputs are the same for every image. Raises ConfigError for an output that is not finite.
    """
    labels: list[Tensor] = []

    def with_labels_kept() -> Iterator[Batch]:
        for images, classes in batches:
            labels.append(classes.cpu())
            yield images, classes

    means = channel_means(model, with_labels_kept(), layers)
    dead = [name for name, means_NC in means.items() if bool((means_NC == means_NC[0]).all())]
    if dead:
        log.warning(
            "the outputs of %s are the same for every image: their connections cannot be told apart", ", ".join(dead)
        )
    return {**means, "": torch.cat(labels)}


def require_enough_images(model: nn.Module, example_1CHW: Tensor, labels_N: Tensor) -> None:
    """Raise ConfigError if there are fewer images than the network has classes."""
    with inference(model):
        classes = model(example_1CHW).shape[-1]
    if len(labels_N) < classes:
        raise ConfigError(
            f"{len(labels_N)} images are too few for {classes} classes: give some of each class, as method.samples_per_class does."
        )


def channel_means(model: nn.Module, batches: Iterable[Batch], layers: Collection[str]) -> dict[str, Tensor]:
    """Return the outputs of the named layers, averaged over the places of the image: N×C each, on the CPU, in the model's type.

    Outputs are taken before batch-norm and ReLU, as in MINT's code. Row n is the same image for every layer. In float32 a channel takes
    4 N bytes: ResNet-50 with 500 images takes 55 MB. The model is left unchanged.

    Raises ConfigError for an output that is not finite.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # A copy, because an in-place ReLU may overwrite the output.
        parts[name].append((output.mean(dim=(2, 3)) if output.dim() == 4 else output.clone()).cpu())

    run_with_hooks(model, batches, {name: partial(keep, name) for name in parts})
    means = {name: torch.cat(part) for name, part in parts.items()}
    for name, means_NC in means.items():
        require_finite_outputs(name, means_NC)
    log.debug(
        "activations of %s images in %d layers: %.0f MB",
        f"{len(next(iter(means.values()))):,}",
        len(means),
        sum(means_NC.nbytes for means_NC in means.values()) / 1e6,
    )
    return means


def run_with_hooks(model: nn.Module, batches: Iterable[Batch], hooks: Mapping[str, Callable[..., None]]) -> None:
    """Run the network in evaluation mode on all batches, with a forward hook on each of the named layers."""
    handles = [model.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        with inference(model):
            for images, _ in batches:
                call_model(model, images)
    finally:
        for handle in handles:
            handle.remove()


def require_finite_outputs(name: str, outputs: Tensor) -> None:
    """Raise ConfigError if an output of the layer called `name` is not finite."""
    if not torch.isfinite(outputs).all():
        raise ConfigError(
            f"The outputs of layer '{name}' are not finite: the training of the network diverged. Train it with a lower schedule.learning_rate."
        )


def check_activations(child_NC: Tensor, parent_NC: Tensor) -> None:
    """Raise ConfigError unless both have the same number of samples, at least two, and are finite."""
    if len(child_NC) != len(parent_NC):
        raise ConfigError(
            f"Child and parent have {len(child_NC)} and {len(parent_NC)} samples: collect both from the same samples in the same order."
        )
    if len(child_NC) < 2:
        raise ConfigError(f"Dependence cannot be estimated from {len(child_NC)} samples: give at least 2.")
    if not (torch.isfinite(child_NC).all() and torch.isfinite(parent_NC).all()):
        raise ConfigError("The activations are not finite: prune a network whose training did not diverge.")
