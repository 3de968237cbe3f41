"""Whether a smaller network gives the outputs of the masked one on random inputs and, if not, where they part."""

import copy
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import prune
from torch.utils._pytree import tree_leaves

from snip_cli.compact.graph import ChannelMap
from snip_cli.compact.tracing import data_type, one_line, unchanged_buffers
from snip_cli.errors import ConfigError, RunError

# The largest difference relative to the largest output, in double precision.
TOLERANCE = 1e-7


def inference_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a network on the CPU in inference mode, in which masks of `torch.nn.utils.prune` have become
    zeros of the weights.

    Raises ConfigError for a network whose parameters have no values yet, or that cannot be copied.
    """
    for name, parameter in model.named_parameters():
        if is_lazy(parameter) or parameter.is_meta:
            raise ConfigError(
                f"This network cannot be made smaller, because its parameter {name} has no values yet: run a batch through lazy layers, and load weights into a network on the meta device, first."
            )
    # A weight that a hook computes from others is not a leaf, and PyTorch refuses to copy it.
    computed = [t for part in model.modules() for t in vars(part).values() if isinstance(t, Tensor) and not t.is_leaf]
    try:
        model = copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in computed})
    except Exception as error:  # a user's network may hold anything
        raise ConfigError(
            f"This network cannot be made smaller, because it cannot be copied ({one_line(error)}): remove what copy.deepcopy does not take."
        ) from error
    for part in model.modules():
        for name in [name for name, _ in part.named_parameters(recurse=False) if name.endswith("_orig")]:
            if hasattr(part, name.replace("_orig", "_mask")):
                prune.remove(part, name.removesuffix("_orig"))
    return model.cpu().eval()


@dataclass(frozen=True)
class Reference:
    """The masked network in double precision if it can be run so, else in its own; random inputs and its outputs."""

    model: nn.Module
    inputs: Tensor
    outputs: list[Tensor]
    tolerance: float


def make_reference(model: nn.Module, shape: tuple[int, ...]) -> Reference:
    """Run a network on random inputs of several sizes and signs.

    Raises ConfigError if it does not take inputs of `shape`, or if its outputs are random.
    """
    draws = torch.Generator().manual_seed(0)
    normal = torch.randn(3, *shape, generator=draws, dtype=torch.float64)
    uniform = torch.rand(2, *shape, generator=draws, dtype=torch.float64)
    inputs = torch.cat([normal[:2], 10 * normal[2:], uniform[:1], -uniform[1:]])
    exact, tolerance = copy.deepcopy(model).double(), TOLERANCE
    try:
        outputs = outputs_of(exact, inputs)
    except Exception:  # a forward pass that names its type runs in that type only
        exact, inputs = model, inputs.to(data_type(model))
        tolerance = torch.finfo(inputs.dtype).eps ** 0.5
        try:
            outputs = outputs_of(exact, inputs)
        except Exception as error:  # a user's forward pass may raise anything
            raise ConfigError(
                f"This network does not take a batch of {len(inputs)} inputs of shape {tuple(shape)} ({one_line(error)}): give the shape of one input without the batch, and a network of one floating-point input that takes batches of any size."
            ) from error
    if not outputs or largest_excess(outputs, outputs_of(exact, inputs, seed=1), tolerance) > 0:
        raise ConfigError(
            "This network cannot be made smaller, because in inference mode two passes over the same inputs give different outputs: let it draw random numbers only in training, for example F.dropout(x, training=self.training)."
        )
    return Reference(exact, inputs, outputs, tolerance)


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Tensor, seed: int = 0) -> list[Tensor]:
    """Return the tensors that a network makes of its inputs. Neither its buffers nor the random generator change."""
    with torch.random.fork_rng(devices=[]), unchanged_buffers(model):
        torch.manual_seed(seed)
        return [leaf.clone() for leaf in tree_leaves(model(inputs.clone())) if isinstance(leaf, Tensor)]


def largest_excess(expected: list[Tensor], given: list[Tensor], tolerance: float) -> float:
    """Return the largest difference relative to the largest expected output, or 0 if it is within the tolerance."""
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in given]:
        return float("inf")
    worst = 0.0
    for first, second in zip(expected, given, strict=True):
        first, second = first.double(), second.double()
        scale = max(float(first.nan_to_num(0.0, 0.0, 0.0).abs().max()) if first.numel() else 0.0, 1e-6)
        if not torch.allclose(first, second, rtol=0.0, atol=tolerance * scale, equal_nan=True):
            difference = float((first - second).abs().max()) / scale
            worst = max(worst, difference if difference > 0 else float("inf"))
    return worst


def check_same(reference: Reference, smaller: nn.Module, graph: fx.GraphModule | None, found: ChannelMap) -> None:
    """Raise RunError if the smaller network's outputs are not those of the reference; name the first operation at which
    they part.

    Args:
        reference: the masked network, its inputs and outputs.
        smaller: the smaller network.
        graph: the masked network as a graph, if it was followed as one.
        found: the channels of the graph.
    """
    try:
        difference = largest_excess(reference.outputs, outputs_of(smaller, reference.inputs), reference.tolerance)
    except Exception as error:  # any operation may find a shape that it does not take
        part, difference = f"it raises: {one_line(error)}", float("inf")
    else:
        if difference == 0:
            return
        part = f"a relative difference of {difference:.2g}"
    where = "the network" if graph is None else _first_difference(reference, smaller, graph, found)
    raise RunError(
        f"The compact network's outputs differ from the masked network's ({part}), first at {where}, which compaction does not understand: use the masked network."
    )


def _first_difference(reference: Reference, smaller: nn.Module, graph: fx.GraphModule, found: ChannelMap) -> str:
    """The first operation whose channels differ in the two networks."""
    if largest_excess(reference.outputs, outputs_of(graph, reference.inputs), reference.tolerance) > 0:
        return "a part of the forward pass that torch.fx does not see, such as a hook of the network itself"
    assert isinstance(smaller, fx.GraphModule)
    whole, part = _values(graph, reference.inputs), _values(smaller, reference.inputs)
    for node, other in zip(graph.graph.nodes, smaller.graph.nodes, strict=True):
        if node not in found or not isinstance(whole.get(node), Tensor):
            continue
        channels, given = found[node], part.get(other)
        if not isinstance(given, Tensor) or given.shape[channels.axis] != int(channels.kept.sum()):
            return describe(node, graph)
        ours = [whole[node].movedim(channels.axis, 0)[channels.essential]]
        theirs = [given.movedim(channels.axis, 0)[channels.essential[channels.kept]]]
        if largest_excess(ours, theirs, reference.tolerance) > 0:
            return describe(node, graph)
    return "its output"


def _values(graph: fx.GraphModule, inputs: Tensor) -> dict[fx.Node, Any]:
    """The outputs of all operations, as far as they can be run."""
    interpreter = fx.Interpreter(graph, garbage_collect_values=False)
    interpreter.extra_traceback = False
    # Where it stops is what is asked for.
    with unchanged_buffers(graph), torch.random.fork_rng(devices=[]), suppress(Exception):
        interpreter.run(inputs.clone())
    return interpreter.env


def describe(node: fx.Node, graph: fx.GraphModule, remark: str = "") -> str:
    """Return an operation's name for the user: a layer's path and class, or a function and the module that calls it."""
    if node.op == "call_module":
        kind = type(graph.get_submodule(str(node.target))).__name__
        return f"{node.target} ({kind}{remark and ', '}{remark})"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    module = next(reversed(node.meta.get("nn_module_stack", {})), "")
    return f"{name}{remark and ' '}{remark}{module and ' in '}{module}"
