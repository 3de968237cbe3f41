"""The conditions under which `prune` scores a model of anybody's: nothing of it changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


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
    states = [(each, each.get_state()) for own in attributes for each in own.values() if type(each) is torch.Generator]
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
        for generator, state in states:
            generator.set_state(state)


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
