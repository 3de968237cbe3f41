"""Batch-norm in inference mode: a layer, or `F.batch_norm` on stored tensors, which is what torch.fx shows of a module
that computes batch-norm and an activation in a forward pass of its own.

Shapes: C channels.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from snip_cli.compact.graph import Channels, one_to_one, stored_tensor

LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
STATISTICS, AFFINE = ("running_mean", "running_var"), ("weight", "bias")


def of_layer(node: fx.Node, norm: nn.modules.batchnorm._BatchNorm, source: Channels) -> Channels | None:
    """Return the output channels of a batch-norm layer; None if it takes its statistics from the batch."""
    tensors = {name: getattr(norm, name) for name in (*STATISTICS, *AFFINE)}
    if any(tensors[name] is None for name in STATISTICS):
        return None
    return _normalised(node, source, tensors, norm.eps)


def of_stored_tensors(node: fx.Node, graph: fx.GraphModule, source: Channels) -> Channels | None:
    """Return the output channels of an `F.batch_norm` for which `stored_arguments` returns something; None if it cannot
    be made smaller.
    """
    stored = stored_arguments(node)
    # Another network of the same form gets its values from a state, which leaves out some buffers.
    if source.axis != 1 or any(str(each.target) not in graph.state_dict() for each in stored.values()):
        return None
    tensors = {name: stored_tensor(each, graph) for name, each in stored.items()}
    return _normalised(node, source, tensors, _arguments(node).get("eps", 1e-5))


def stored_arguments(node: fx.Node) -> dict[str, fx.Node]:
    """Return what reads the stored tensors of an `F.batch_norm` with known statistics, by the names of its arguments;
    nothing for any other operation.
    """
    if node.op != "call_function" or node.target is not F.batch_norm:
        return {}
    arguments = _arguments(node)
    stored = {name: arguments[name] for name in (*STATISTICS, *AFFINE) if arguments.get(name) is not None}
    known = all(
        isinstance(each, fx.Node) and each.op == "get_attr" and not each.meta.get("unclear") for each in stored.values()
    )
    return stored if known and stored.keys() >= {*STATISTICS} and not arguments.get("training") else {}


def stored_tensors(node: fx.Node, graph: fx.GraphModule) -> list[Tensor]:
    """Return the stored tensors of an `F.batch_norm`; none for any other operation."""
    return [stored_tensor(each, graph) for each in stored_arguments(node).values()]


def shrink_stored(node: fx.Node, state: dict[str, Tensor], kept_C: Tensor) -> dict[str, Tensor]:
    """Return the stored tensors of an `F.batch_norm` with the kept channels alone, by their names in the state."""
    return {str(each.target): state[str(each.target)][kept_C] for each in stored_arguments(node).values()}


def resize_stored(graph: fx.GraphModule, state: dict[str, Tensor]) -> None:
    """Give the stored tensors of every `F.batch_norm` the shape that they have in the state, with values that are not
    set.
    """
    for node in graph.graph.nodes:
        for each in stored_arguments(node).values():
            target, old = str(each.target), stored_tensor(each, graph)
            if target in state and state[target].shape != old.shape:
                new = old.new_empty(state[target].shape)
                module, _, name = target.rpartition(".")
                setattr(graph.get_submodule(module), name, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)


def _arguments(node: fx.Node) -> dict[str, Any]:
    return inspect.signature(F.batch_norm).bind(*node.args, **node.kwargs).arguments


def _normalised(node: fx.Node, source: Channels, tensors: Mapping[str, Tensor | None], eps: float) -> Channels:
    """The channels after the normalisation. A channel whose scale is zero is constant whatever its input is."""
    mean_C, var_C, weight_C, bias_C = (
        None if (tensor := tensors.get(name)) is None else tensor.detach().double() for name in (*STATISTICS, *AFFINE)
    )
    assert mean_C is not None and var_C is not None
    scale_C = (var_C + eps).rsqrt() if weight_C is None else (var_C + eps).rsqrt() * weight_C
    shifted_C = torch.where(scale_C == 0, 0.0, (source.constant - mean_C) * scale_C)
    return one_to_one(node, shifted_C if bias_C is None else shifted_C + bias_C)
