"""From a network to a graph of operations, each of which knows what it does to the shape and to other tensors."""

import operator
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn

from snip_cli.compact.observe import observe
from snip_cli.compact.reshape import unify_reshapes
from snip_cli.errors import ConfigError


class Traced(fx.Proxy):
    """A tensor in a traced forward pass, for which `x += y` stays a change in place instead of becoming `x = x + y`."""

    def __iadd__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class Tracer(fx.Tracer):
    """Treats every convolution as one operation, also one that computes its own padding, and every module of the
    classes `leaves`.
    """

    def __init__(self, leaves: tuple[type[nn.Module], ...] = ()) -> None:
        super().__init__()
        self.leaves: tuple[type[nn.Module], ...] = (nn.Conv2d, *leaves)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Traced(node, self)


def trace(model: nn.Module, shape: tuple[int, ...], leaves: tuple[type[nn.Module], ...] = ()) -> fx.GraphModule:
    """Return the network as a graph in inference mode, which shares its layers; each operation knows the shape of its
    output for two images of `shape`. Reshapes are in one form, and nothing reads a tensor that was changed in place
    under its old name.

    Raises ConfigError if the forward pass depends on more than the shape of its input.
    """
    attributes = set(vars(model))
    with unchanged_buffers(model):
        try:
            graph = fx.GraphModule(model, Tracer(leaves).trace(model))
            # Two images, because for one image the batch looks like any other axis of length 1.
            observe(graph, torch.zeros(2, *shape, dtype=data_type(model), device=_device(model)))
        except Exception as error:  # a user's forward pass may raise anything when it is given no numbers
            raise ConfigError(
                f"This network cannot be made smaller, because torch.fx cannot follow its forward pass ({one_line(error)}): write that without conditions on its input."
            ) from error
        finally:
            for name in set(vars(model)) - attributes:  # torch.fx stores the tensors that the forward pass makes
                delattr(model, name)
    for node in graph.graph.nodes:
        if node.op == "call_module" and not node.args and isinstance(given := node.kwargs.get("input"), fx.Node):
            node.args, node.kwargs = (given,), {key: value for key, value in node.kwargs.items() if key != "input"}
    unify_reshapes(graph)
    graph.recompile()
    return graph.eval()


def data_type(model: nn.Module) -> torch.dtype:
    """Return the type of the first floating-point parameter, which is the one that the network's inputs have."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.get_default_dtype())


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def one_line(error: Exception) -> str:
    """Return an error's message as one line, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split()) if lines else type(error).__name__


@contextmanager
def unchanged_buffers(model: nn.Module) -> Iterator[None]:
    """Give the buffers that the forward pass changes, such as counters, their values back at the end."""
    before: dict[str, Tensor] = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in before:
                    buffer.copy_(before[name])
