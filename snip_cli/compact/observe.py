"""One pass through a traced network, which notes what each operation does: PyTorch's own operations that it consists of,
the shape of its output, and which tensors it changes in place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

SIZES = (int, float, torch.Size, torch.dtype, torch.device)
# Channel by channel and pixel by pixel, although PyTorch does not tag them so.
POINTWISE = ("hardswish", "hardswish_", "log_sigmoid_forward")


@dataclass(frozen=True)
class Call:
    """One of PyTorch's own operations.

    name: its name, for example "max_pool2d_with_indices".
    pointwise: whether it treats every element of its tensors separately and without random numbers.
    args: its arguments; a tensor is replaced by its shape.
    """

    name: str
    pointwise: bool
    args: tuple[Any, ...]


class _Recorder(TorchDispatchMode):
    """Records the calls, and the storages of the tensors that they write into."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.written: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = str(func).split(".")[1]
        pointwise = torch.Tag.pointwise in func.tags and torch.Tag.nondeterministic_seeded not in func.tags
        shapes = tree_map(lambda each: each.shape if isinstance(each, Tensor) else each, args)
        self.calls.append(Call(name, pointwise or name in POINTWISE, tuple(shapes)))
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[place] if place < len(args) else kwargs.get(argument.name)
                self.written |= {storage for tensor in _tensors(given) if (storage := _storage(tensor)) is not None}
        return func(*args, **kwargs)


class _Observer(fx.Interpreter):
    """Runs the graph, notes in each node's `meta` what it did, and keeps all values."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.extra_traceback = False
        self.written: dict[fx.Node, set[int]] = {}

    def run_node(self, n: fx.Node) -> Any:
        with _Recorder() as recorder:
            value = super().run_node(n)
        n.meta["calls"] = recorder.calls
        if isinstance(value, Tensor) and n.op != "output":
            n.meta["shape"], n.meta["type"] = tuple(value.shape), value.dtype
        elif isinstance(value, SIZES):
            n.meta["size"] = value
        if recorder.written:
            self.written[n] = recorder.written
        return value


def observe(graph: fx.GraphModule, *inputs: Tensor) -> None:
    """Run the graph once and note in each node's `meta`:

    - `shape` and `type`, if its output is one tensor, or `size`, if it is a number, a shape, a type or a device;
    - `calls`, what it consists of;
    - `unclear`, if a change in place makes its output's later value unknown.

    Where an operation changes a tensor in place and returns it, what reads the tensor afterwards becomes a reader of
    that operation.
    """
    observer = _Observer(graph)
    with torch.no_grad():
        observer.run(*inputs)
    values = {node: value for node, value in observer.env.items() if node.op != "output"}
    order = {node: place for place, node in enumerate(graph.graph.nodes)}
    for writer, storages in observer.written.items():
        for node, value in values.items():
            later = [user for user in node.users if order[user] > order[writer]]
            touched = storages & {_storage(tensor) for tensor in _tensors(value)}
            if order[node] >= order[writer] or not touched or not later:
                continue
            if _is_same(value, values[writer]):
                node.replace_all_uses_with(writer, delete_user_cb=lambda user, later=later: user in later)  # type: ignore[misc]
            else:
                _mark_unclear(touched, values)


def _mark_unclear(storages: set[int], values: Mapping[fx.Node, Any]) -> None:
    for node, value in values.items():
        if storages & {_storage(tensor) for tensor in _tensors(value)}:
            node.meta["unclear"] = True


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int | None:
    """A number that names the memory of a tensor, also on the meta device; None for a sparse tensor."""
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else None


def _is_same(first: Any, second: Any) -> bool:
    """Whether two values are the same elements in the same order."""
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return False
    return first is second or _layout(first) == _layout(second)


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return _storage(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype
