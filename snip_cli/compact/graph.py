"""The channels of every tensor in a traced network, which of them the output depends on, and which stay.

Compaction (network.py) and the effective sparsity (paths.py) both walk this graph: forwards to find the channels that
are constant, backwards to find the channels that the output depends on.

Shapes: C channels of a tensor (its axis 1, so features after a flatten; the last axis behind a linear layer on several
rows per image); O outputs and I inputs of a layer.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn


@dataclass
class Channels:
    """The channels of one tensor in the graph.

    constant (C,): the channel's value (float64) if it is the same for every image and pixel, else NaN.
    links: pairs (input node, channel_C). Channel c of this tensor is made from channel channel_C[c] of that input
        alone; -1 means from none.
    reads (O, I): whether output o of a layer has a weight for input i. None for an operation without weights.
    source: what a layer with `reads` reads.
    axis: the axis of the tensor that its channels lie on.
    needed (C,): whether the network's output depends on the channel.
    kept (C,): whether compaction keeps the channel.
    """

    constant: Tensor
    links: list[tuple[fx.Node, Tensor]] = field(default_factory=list)
    reads: Tensor | None = None
    source: "Channels | None" = None
    axis: int = 1

    def __post_init__(self) -> None:
        self.needed = torch.zeros_like(self.constant, dtype=torch.bool)
        self.kept = torch.zeros_like(self.needed)

    @property
    def essential(self) -> Tensor:
        """(C,): whether the output depends on the channel and no constant can replace it."""
        return self.needed & self.constant.isnan()


ChannelMap = dict[fx.Node, Channels]


def mark_needed(found: ChannelMap) -> None:
    """Mark the channels that the output depends on, from the last operation to the first. Keep the essential ones."""
    for channels in reversed(found.values()):
        essential_C = channels.essential
        channels.kept |= essential_C
        for source, channel_C in channels.links:
            read = channel_C[essential_C]
            found[source].needed[read[read >= 0]] = True
        if channels.reads is not None and channels.source is not None:
            channels.source.needed |= channels.reads[essential_C].any(dim=0)


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of an operation's output for two images; () if the output is not one tensor."""
    shape: tuple[int, ...] = node.meta.get("shape", ())
    return shape


def is_plain(node: fx.Node, graph: fx.GraphModule) -> bool:
    """Return whether an operation does what its name says: no hook and no forward pass of its own on a module, no later
    change of its output through another tensor.
    """
    if node.meta.get("unclear"):
        return False
    if node.op != "call_module":
        return True
    module = graph.get_submodule(str(node.target))
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def first_input(node: fx.Node) -> fx.Node:
    """Return the first argument of an operation that reads a tensor."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def followed_input(node: fx.Node, found: ChannelMap) -> fx.Node | None:
    """Return the first argument of an operation if it is a tensor whose channels are known, else None."""
    source = node.args[0] if node.args else None
    return source if isinstance(source, fx.Node) and source in found else None


def stored_tensor(node: fx.Node, graph: fx.GraphModule) -> Tensor:
    """Return the parameter or buffer that a `get_attr` node reads."""
    module, _, name = str(node.target).rpartition(".")
    tensor: Tensor = getattr(graph.get_submodule(module), name)
    return tensor


def unknown(count: int) -> Channels:
    """Return channels that vary and stay."""
    channels = Channels(torch.full((count,), torch.nan, dtype=torch.float64))
    channels.needed[:] = channels.kept[:] = True
    return channels


def one_to_one(node: fx.Node, constant_C: Tensor, axis: int = 1) -> Channels:
    """Return the channels of an operation that makes each output channel from the input channel of the same number."""
    return Channels(constant_C, [(first_input(node), torch.arange(len(constant_C)))], axis=axis)


def has_state(module: nn.Module) -> bool:
    """Return whether a module has parameters or buffers."""
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())
