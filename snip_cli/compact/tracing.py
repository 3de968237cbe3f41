"""From a network to a graph of operations, each of which knows what it does to the shape and to other tensors."""

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from snip_cli.compact.observe import observe
from snip_cli.compact.reshape import unify_reshapes
from snip_cli.errors import ConfigError

# What a tensor tells whatever values it has.
SHAPE_METHODS = ("size", "dim", "ndimension", "numel", "is_floating_point", "is_complex")
SHAPE_ATTRIBUTES = ("shape", "ndim", "dtype", "device", "is_cuda", "is_cpu")


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

    def __setitem__(self, index: object, value: object) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})

    def __getattr__(self, k: str) -> fx.proxy.Attribute:
        return TracedAttribute(self, k)

    def __len__(self) -> int:
        return length(self)


class TracedAttribute(fx.proxy.Attribute):
    """An attribute of a traced tensor, such as its shape, of which `len` is known."""

    def __len__(self) -> int:
        return length(self)


class Asked(BaseException):
    """Ends a trace at a question that only numbers can answer. No Exception, which a user's forward pass may catch."""

    def __init__(self, graph: fx.Graph, node: fx.Node, read: Callable[[Any], int | None]) -> None:
        super().__init__()
        self.graph, self.node, self.read = graph, node, read

    def answer(self, model: nn.Module, examples: Sequence[Tensor]) -> int | None:
        """Return what `read` makes of the operation's output; None if that is not one for all examples."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        graph.graph_copy(self.graph, copies)
        graph.output(copies[self.node])
        interpreter = fx.Interpreter(fx.GraphModule(model, graph))
        interpreter.extra_traceback = False
        try:
            with torch.no_grad():
                found = {self.read(interpreter.run(example)) for example in examples}
        except Exception:  # a forward pass may take batches of some sizes only
            return None
        return found.pop() if len(found) == 1 else None


class Tracer(fx.Tracer):
    """Treats every convolution as one operation, also one that computes its own padding, and every module of the
    classes `leaves`.

    The forward pass may ask for numbers, by a condition or a loop. Those that follow from shapes are given to it, from
    `answers` in their order; the first one that is not there raises `Asked`. torch.fx refuses all others.
    """

    def __init__(self, answers: Sequence[int | None], leaves: tuple[type[nn.Module], ...] = ()) -> None:
        super().__init__()
        self.answers = iter(answers)
        self.leaves: tuple[type[nn.Module], ...] = (nn.Conv2d, *leaves)

    def asked(self, proxy: fx.Proxy, read: Callable[[Any], int | None]) -> int | None:
        """Return the next answer; None if there is none that holds for batches of any size."""
        try:
            return next(self.answers)
        except StopIteration:
            raise Asked(self.graph, proxy.node, read) from None

    def to_bool(self, obj: fx.Proxy) -> bool:
        answer = self.asked(obj, bool) if _reads_shapes_alone(obj.node) else None
        return super().to_bool(obj) if answer is None else bool(answer)

    def iter(self, obj: fx.Proxy) -> Iterator[fx.Proxy]:
        return (self.create_proxy("call_function", operator.getitem, (obj, place), {}) for place in range(length(obj)))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Traced(node, self)


def length(proxy: fx.Proxy) -> int:
    """Return the number of axes in a traced shape, or of tensors in a traced tuple."""
    assert isinstance(proxy.tracer, Tracer)
    number = proxy.tracer.asked(proxy, lambda value: None if isinstance(value, Tensor) else len(value))
    if number is None:
        raise fx.proxy.TraceError("the rows of a tensor are taken apart or counted")
    return number


def trace(model: nn.Module, shape: tuple[int, ...], leaves: tuple[type[nn.Module], ...] = ()) -> fx.GraphModule:
    """Return the network as a graph in inference mode, which shares its layers; each operation knows the shape of its
    output for two images of `shape`. Reshapes are in one form, and nothing reads a tensor that was changed in place
    under its old name.

    Raises ConfigError if the forward pass depends on more than the shape of its input.
    """
    like = next(model.parameters(), torch.empty(0))
    one, two, five = (torch.zeros(count, *shape, dtype=data_type(model), device=like.device) for count in (1, 2, 5))
    answers: list[int | None] = []
    graph = None
    while graph is None:
        with unchanged(model):
            try:
                graph = fx.GraphModule(model, Tracer(answers, leaves).trace(model))
                # Two images, because for one image the batch looks like any other axis of length 1.
                observe(graph, two)
            except Asked as asked:
                answers.append(asked.answer(model, (one, two, five)))
            except Exception as error:  # a user's forward pass may raise anything when it is given no numbers
                raise ConfigError(
                    f"This network cannot be made smaller, because torch.fx cannot follow its forward pass ({one_line(error)}): write that without conditions on its input."
                ) from error
    for node in graph.graph.nodes:
        if node.op == "call_module" and not node.args and isinstance(given := node.kwargs.get("input"), fx.Node):
            node.args, node.kwargs = (given,), {key: value for key, value in node.kwargs.items() if key != "input"}
    unify_reshapes(graph)
    graph.recompile()
    return graph.eval()


def data_type(model: nn.Module) -> torch.dtype:
    """Return the type of the first floating-point parameter, which is the one that the network's inputs have."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.get_default_dtype())


def _reads_shapes_alone(node: fx.Node) -> bool:
    """Whether a value is computed from shapes, types and devices of tensors, whatever the tensors hold."""
    if node.op == "call_method":
        return node.target in SHAPE_METHODS
    if node.target is getattr:
        return node.args[1] in SHAPE_ATTRIBUTES
    return node.op == "call_function" and all(map(_reads_shapes_alone, node.all_input_nodes))


def one_line(error: Exception) -> str:
    """Return an error's message as one line, or its type if it has none."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split()) if lines else type(error).__name__


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Take what a trace leaves in the model away at the end: torch.fx stores the tensors that the forward pass makes."""
    attributes = set(vars(model))
    try:
        with unchanged_buffers(model):
            yield
    finally:
        for name in set(vars(model)) - attributes:
            delattr(model, name)


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
