"""What the layers of a trained network give for a class-balanced sample: one number an image and channel.

Shapes: N images, C output channels of a layer, H×W its output's places.
"""

import logging
from collections.abc import Collection, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.pruning.after_training.snacs.layers import require_finite, watched

log = logging.getLogger("snip_cli")


def channel_means(model: nn.Module, batches: Iterable[Batch], layers: Collection[str]) -> dict[str, Tensor]:
    """The outputs of the named layers, averaged over the places of the image: N×C on the CPU for each, in the model's type.

    Taken as the layer gives them, before batch-norm and ReLU, as in MINT's code; row n is the same image for every layer. They take
    N × 4 bytes a channel in float32: 55 MB for ResNet-50 at 500 images. The model is left as it was.

    Raises:
        ConfigError: an output is not finite.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # A copy: a ReLU may overwrite the output.
        parts[name].append((output.mean(dim=(2, 3)) if output.dim() == 4 else output.clone()).cpu())

    watched(model, batches, {name: partial(keep, name) for name in parts})
    means = {name: torch.cat(part) for name, part in parts.items()}
    for name, means_NC in means.items():
        require_finite(name, means_NC)
    log.debug(
        "activations of %s images in %d layers: %.0f MB",
        f"{len(next(iter(means.values()))):,}",
        len(means),
        sum(means_NC.nbytes for means_NC in means.values()) / 1e6,
    )
    return means
