"""Reshapes in one form: whatever a forward pass calls to flatten its channels becomes an operation that names no number of
channels, so that it works for fewer.
"""

import operator
from math import prod
from typing import Any

import torch
from torch import fx

from snip_cli.compact.graph import is_plain, shape_of
from snip_cli.compact.observe import Call

# They keep the order of the elements, so that the shape before and after says all.
KEEP_ORDER = {"view", "_unsafe_view", "_reshape_alias", "squeeze", "unsqueeze", "alias", "clone"}


def unify_reshapes(graph: fx.GraphModule) -> None:
    """Replace every reshape of N×C×… that keeps the channels apart, and remove the sizes that only it has read.

    N×C×H×W → N×CHW becomes `torch.flatten(x, 1)`, N×C×H×W → N×C×HW `torch.flatten(x, 2)`, and N×C → N×C×1×1
    `x[:, :, None, None]`.
    """
    for node in list(graph.graph.nodes):
        names = {call.name for call in node.meta.get("calls", ())}
        source = next((each for each in node.all_input_nodes if shape_of(each)), None)
        if source is None or not names or not names <= KEEP_ORDER or not shape_of(node) or not is_plain(node, graph):
            continue
        form = _form(shape_of(source), shape_of(node), copied="clone" in names)
        if form is None:
            continue
        new = source
        if form:
            with graph.graph.inserting_before(node):
                new = graph.graph.call_function(form[0], (source, *form[1]))
            new.meta = {**node.meta, "calls": [Call("alias", False, ())]}
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
    for node in reversed(graph.graph.nodes):
        if "size" in node.meta and not node.users and node.op in ("call_function", "call_method"):
            graph.graph.erase_node(node)


def _form(old: tuple[int, ...], new: tuple[int, ...], *, copied: bool) -> tuple[Any, ...] | None:
    """Return the function and its arguments that make shape `new` of `old`; () if nothing is to be done; None if the
    channels do not stay apart.
    """
    if new == old:
        return None if copied else ()
    if len(old) < 2:
        return None
    pixels = prod(old[2:])
    if new == (old[0], old[1] * pixels):
        return torch.flatten, (1,)
    if new == (*old[:2], pixels) and len(old) > 3:
        return torch.flatten, (2,)
    if len(old) == 2 and new == (*old, *[1] * (len(new) - 2)):
        return operator.getitem, ((slice(None), slice(None), *[None] * (len(new) - 2)),)
    return None


def counts_channels(node: fx.Node, axis: int = 1) -> bool:
    """Return whether an operation whose output is no tensor may read how many channels its input has on its `axis`."""
    size = node.meta.get("size")
    if isinstance(size, torch.Size):
        return any(_takes_channels(user, len(size), axis) for user in node.users)
    if isinstance(size, torch.dtype | torch.device):
        return False
    if node.target in ("dim", "ndimension") or (node.target is getattr and node.args[1] == "ndim"):
        return False
    asked = node.args[1] if node.target == "size" and len(node.args) == 2 else None
    source = node.args[0] if node.args else None
    if isinstance(asked, int) and isinstance(source, fx.Node) and shape_of(source):
        return asked % len(shape_of(source)) == axis
    return True


def _takes_channels(user: fx.Node, axes: int, axis: int) -> bool:
    """Whether an operation that reads a shape of so many axes takes the length of `axis` from it."""
    index = user.args[1] if user.target is operator.getitem else slice(None)
    if isinstance(index, int):
        return index % axes == axis
    return not isinstance(index, slice) or axis in range(axes)[index]
