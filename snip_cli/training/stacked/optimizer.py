"""The optimizer of a stack as those of single networks, and back.

What an optimizer holds of a parameter is of its shape, as momentum is, or the same number for all, as a count of steps is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snip_cli.training.stacked.stack import Stack

# By the number of a parameter, in the order of `Stack.names`, then by what is held.
Moments = Mapping[int, Mapping[str, Tensor]]


def single_states(stack: Stack, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The `state_dict` that the optimizer of each network alone would have, on the CPU."""
    content = optimizer.state_dict()
    held: Moments = content["state"]
    found: list[dict[int, dict[str, Tensor]]] = [{i: {} for i in range(len(stack.names))} for _ in range(stack.count)]
    for key in keys_of(held):
        values = [held[i][key] for i in range(len(held))]
        singles = stack.put(values) if values[0].dim() else None
        for number, state in enumerate(found):
            for i, name in enumerate(stack.names):
                # Each its own: an optimizer counts on in place.
                state[i][key] = singles[number][name] if singles else values[0].cpu().clone()
    [group] = content["param_groups"]
    group = {**group, "params": list(range(len(stack.names)))}
    return [{"state": state, "param_groups": [group]} for state in found]


def set_moments(stack: Stack, optimizer: torch.optim.Optimizer, singles: Sequence[Moments]) -> None:
    """Set the optimizer to what those of single networks hold; raises KeyError where they are of others."""
    found: dict[int, dict[str, Tensor]] = {i: {} for i in range(len(stack.parameters))}
    for key in keys_of(singles[0]):
        named = [{name: held[i][key] for i, name in enumerate(stack.names)} for held in singles]
        alike = named[0][stack.names[0]]
        values = stack.take(named) if alike.dim() else [alike.clone() for _ in found]
        for i, value in enumerate(values):
            found[i][key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": found})


def keys_of(held: Moments) -> list[str]:
    """What an optimizer holds of each parameter; nothing before its first step, or without momentum."""
    return [key for key, value in held.get(0, {}).items() if value is not None]
