"""Which pruned networks train with their kept weights alone: by network and density, as measured in `results/performance.md`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from snip_cli.config.schema import Config
from snip_cli.data.resident import ResidentSplit
from snip_cli.data.splits import Data, Split
from snip_cli.models.prunable import prunable_parameters
from snip_cli.models.recurrent import RowByRow
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.pruner import FixedMask
from snip_cli.runtime.processes import ProcessGroup
from snip_cli.training.loop import Training
from snip_cli.training.sparse.chain_layers import steps_of
from snip_cli.training.sparse.normalised import has_form
from snip_cli.training.sparse.recurrent_layers import recurrent_kind
from snip_cli.training.trainer import Forward, Trainer

if TYPE_CHECKING:
    from snip_cli.training.sparse.trainer import SparseNetwork

# The largest share of kept weights with which a kind of network trains faster in this form than with zeros in its matrices.
LARGEST_DENSITY = {"linear": 0.6, "convolutional": 0.25, "normalised": 0.2, "lstm": 0.5, "gru": 0.5}


def kind_of(model: nn.Module) -> str | None:
    """Return the row of `LARGEST_DENSITY` that a network belongs to; None if the kernels do not know its layers."""
    if {*prunable_parameters(model)} != {name for name, _ in model.named_parameters()}:
        return None
    steps = steps_of(model)
    if steps is None:
        return recurrent_kind(model)
    return "convolutional" if any(isinstance(step.layer, nn.Conv2d) for step in steps) else "linear"


def is_sparse(config: Config, model: nn.Module, data: Data, group: ProcessGroup, density: float) -> bool:
    """Return whether a network of which a share `density` is kept trains in this form: on one processor, in full precision.

    The kernels do not know label smoothing.
    """
    if config.schedule.label_smoothing:
        return False
    readable = all(is_readable(split) for split in (data.train, data.validation, data.test))
    kind = kind_of(model) if is_plain(config, data, group) and readable else None
    return kind is not None and density <= LARGEST_DENSITY[kind]


def is_sparse_by_layer(config: Config, model: nn.Module, data: Data, group: ProcessGroup, density: float) -> bool:
    """Return whether a network with batch-norm trains the convolutions that keep few weights in this form."""
    one_size = not config.dataset.sizes
    return is_plain(config, data, group) and one_size and density <= LARGEST_DENSITY["normalised"] and has_form(model)


def is_plain(config: Config, data: Data, group: ProcessGroup) -> bool:
    """Return whether one process trains on a processor in full precision."""
    on_processor = data.train.device.type == "cpu"
    return on_processor and group.size == 1 and not config.compile and config.dtype != "bfloat16"


def is_readable(split: Split) -> bool:
    """Return whether the kernels can read a split: uint8 images in the processor's memory, without augmentation."""
    if not isinstance(split, ResidentSplit):
        return False
    in_squares = split.images.shape[1:].numel() >= 16  # see kernels/reading.py
    return in_squares and split.augment is None and split.device.type == "cpu" and split.images.dtype == torch.uint8


def sparse_training(config: Config, model: nn.Module, mask: Mask, data: Data, seed: int) -> Training:
    """Return the training of one network with its kept weights alone."""
    # What compiles is imported where it is used, because it takes half a second.
    from snip_cli.training.sparse.trainer import SparseTrainer

    network = sparse_network(model, mask, config.dataset.shape, config.schedule.batch_size)
    return SparseTrainer(model, network, mask, data, config.schedule, seed)


def sparse_network(model: nn.Module, mask: Mask, shape: Sequence[int], batch: int) -> "SparseNetwork":
    """Return a network that the kernels know, for batches of at most `batch` images of a shape C×H×W."""
    from snip_cli.training.sparse.chain import ChainNetwork
    from snip_cli.training.sparse.recurrent import RecurrentNetwork

    channels, height, columns = shape
    dtype = next(model.parameters()).detach().numpy().dtype
    if isinstance(model, RowByRow):
        return RecurrentNetwork(model, mask, (channels, height, columns), batch, dtype)
    steps = steps_of(model)
    assert steps is not None
    return ChainNetwork(steps, mask, (channels, height, columns), batch, dtype)


def training_by_layer(config: Config, model: nn.Module, pruner: FixedMask, data: Data, seed: int) -> Training:
    """Return the training of a network with batch-norm, each convolution in the form that suits its density."""
    from snip_cli.training.sparse.planes.network import PlanesNetwork

    channels, height, columns = config.dataset.shape
    network = PlanesNetwork(model, pruner.mask, (channels, height, columns), config.schedule.batch_size)
    forward = Forward(model, network=network)
    return Trainer(model, pruner, data, config.schedule, seed, forward=forward, engine="sparse")
