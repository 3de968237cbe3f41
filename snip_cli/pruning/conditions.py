"""The conditions under which `prune` scores a model of anybody's: seeded, in full precision, and nothing of the model changes."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.models.effective import effective_weights
from snip_cli.models.prunable import require_no_lazy_layer
from snip_cli.runtime.streams import seeded


def require_weights(model: nn.Module) -> None:
    """Raise ConfigError if there are no weights to score, or none that can have a gradient."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model must be a torch.nn.Module: got a value of type {type(model).__name__}.")
    require_no_lazy_layer(model)
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_meta:
            raise ConfigError(
                f"'{name}' lies on the meta device and has no values: call model.to_empty(device='cpu') and load weights first."
            )
        if tensor.is_inference():
            raise ConfigError(
                f"'{name}' was made under torch.inference_mode() and cannot have a gradient: make or load the model outside of it."
            )


@contextmanager
def scoring_conditions(model: nn.Module, seed: int) -> Iterator[None]:
    """Within the block, global generators are seeded, and every weight of `model` is a parameter in full precision.

    Afterwards generators and model are as they were.
    """
    with (
        torch.inference_mode(False),
        seeded(seed),
        left_as_it_was(model),
        full_precision(model),
        effective_weights(model),
    ):
        yield


@contextmanager
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Restore the model after the block, whatever its forward pass does and even if it raises.

    Restored are parameters, gradients, all buffers, modes, and the attributes of its modules, such as counters. A list or dictionary that
    the forward pass changes in place is not.
    """
    modules = list(model.modules())
    attributes = [dict(vars(module)) for module in modules]
    members = [
        (each, dict(each)) for module in modules for each in (module._parameters, module._buffers, module._modules)
    ]
    # A sparse tensor cannot be compared.
    tensors = [tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.layout is torch.strided]
    values = [tensor.detach().clone() for tensor in tensors]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    generators = [each for own in attributes for value in own.values() if (each := _rewind(value)) is not None]
    try:
        yield
    finally:
        for module, before in zip(modules, attributes, strict=True):
            _refill(vars(module), before)
        for now, then in members:
            _refill(now, then)
        for tensor, value in zip(tensors, values, strict=True):
            _restore(tensor, value)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for rewind in generators:
            rewind()


def _rewind(value: object) -> Callable[[], object] | None:
    """Return what gives a random generator the state back that it has now; None for any other value."""
    if type(value) is torch.Generator:
        return partial(value.set_state, value.get_state())
    if type(value) is random.Random:
        return partial(value.setstate, value.getstate())
    if isinstance(value, numpy.random.RandomState):
        return partial(value.set_state, value.get_state())
    if isinstance(value, numpy.random.Generator):
        return partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    return None


def _refill(now: dict[str, Any], then: dict[str, Any]) -> None:
    now.clear()
    now.update(then)


@torch.no_grad()
def _restore(tensor: Tensor, value: Tensor) -> None:
    """Give a tensor its value back. One that has it is not written, because a graph of the caller's may still need it."""
    if tensor.shape != value.shape:
        tensor.data = value
    elif not torch.equal(tensor, value):
        tensor.copy_(value)


@contextmanager
def full_precision(model: nn.Module) -> Iterator[None]:
    """Within the block, parameters and buffers in float16, bfloat16 or less are in float32, and autocast is off.

    In float16 most gradients of a deep network are zero or infinite, and scores that are equal cannot rank connections. To be used within
    `left_as_it_was`, which gives back the buffers.
    """
    halves = [(parameter, parameter.data) for parameter in model.parameters() if is_low_precision(parameter)]
    kinds = {"cpu", *(parameter.device.type for parameter in model.parameters())}
    try:
        for parameter, data in halves:
            parameter.data = data.float()
        for module in model.modules():
            buffers = module.named_buffers(recurse=False)
            module._buffers.update({name: buffer.float() for name, buffer in buffers if is_low_precision(buffer)})
        with ExitStack() as stack:
            for kind in filter(torch.amp.is_autocast_available, kinds):
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        for parameter, data in halves:
            parameter.data = data


def is_low_precision(tensor: Tensor) -> bool:
    """Return whether a tensor holds floating-point numbers of fewer than 32 bits."""
    return tensor.is_floating_point() and tensor.dtype.itemsize < 4


def is_no_batch_norm(module: nn.Module) -> bool:
    """Return whether a module is no batch-norm."""
    return not isinstance(module, nn.modules.batchnorm._NormBase)


@contextmanager
def scoring_mode(model: nn.Module, trains: Callable[[nn.Module], bool] = is_no_batch_norm) -> Iterator[None]:
    """Put the modules that `trains` selects in training mode and the others in inference mode; restore all modes afterwards.

    By default batch-norm alone is in inference mode, as in the released code of SNIP. Inference mode for the whole model would fail for
    gradients of a recurrent network, for which cuDNN has no backward pass there. On a GPU, products are computed in full float32 and
    convolutions deterministically, because the last bits of a score decide which connection stays. A recurrent layer with dropout does
    without cuDNN, whose dropout goes on from call to call and ignores seeds. The statistics of batch-norm are restored too.
    """
    precision = torch.get_float32_matmul_precision()
    modes = {module: module.training for module in model.modules()}
    norms = [module for module in modes if trains(module) and not is_no_batch_norm(module)]
    statistics = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    model.train()
    for module in modes:
        if not trains(module):
            module.training = False
    torch.set_float32_matmul_precision("highest")
    try:
        own_dropout = any(isinstance(module, nn.RNNBase) and module.dropout > 0 for module in modes)
        with torch.backends.cudnn.flags(enabled=not own_dropout, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for module, training in modes.items():
            module.training = training
        for buffer, value in statistics:
            buffer.copy_(value)
