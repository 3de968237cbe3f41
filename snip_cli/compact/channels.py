"""Which channels of a network's tensors can go: what is constant, what nothing reads, and what must go together.

Shapes: C channels of a tensor (its axis 1, so features after a flatten); O outputs and I inputs of a layer.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, fx
from torch.fx.passes.shape_prop import TensorMetadata


@dataclass
class Channels:
    """The channels of one tensor in the network.

    constant, (C,): the value (float64) that a channel has for every image at every pixel, NaN where it varies.
    links: tensors whose channels become these one by one, with channel_C, the number of the channel there (-1: of none).
    reads, (O, I): whether output o of a convolution or linear layer has a weight for input i; None for every other operation.
    needed, (C,): whether the network's output depends on the channel.
    kept, (C,): whether the channel stays.
    """

    constant: Tensor
    links: list[tuple[fx.Node, Tensor]] = field(default_factory=list)
    reads: Tensor | None = None

    def __post_init__(self) -> None:
        self.needed = torch.zeros_like(self.constant, dtype=torch.bool)
        self.kept = torch.zeros_like(self.needed)

    @property
    def wanted(self) -> Tensor:
        """What no constant can stand for."""
        return self.needed & self.constant.isnan()


Flow = dict[fx.Node, Channels]


def find_needed(found: Flow) -> None:
    """Set what the output depends on, from the last operation to the first, and keep of it what varies."""
    for node, channels in reversed(found.items()):
        wanted_C = channels.wanted
        channels.kept |= wanted_C
        for source, channel_C in channels.links:
            read = channel_C[wanted_C]
            found[source].needed[read[read >= 0]] = True
        if channels.reads is not None:
            found[node.args[0]].needed |= channels.reads[wanted_C].any(dim=0)


def keep_together(found: Flow) -> None:
    """Keep a channel wherever it is kept somewhere: what is added together, or normalised one by one, has the same channels."""
    before, after = -1, 0
    while before != after:
        for channels in (*found.values(), *reversed(found.values())):
            for source, channel_C in channels.links:
                linked_C = channel_C >= 0
                found[source].kept[channel_C[linked_C & channels.kept]] = True
                channels.kept[linked_C] |= found[source].kept[channel_C[linked_C]]
        before, after = after, sum(int(channels.kept.sum()) for channels in found.values())


def width(node: fx.Node) -> int | None:
    """Channels of a tensor, None where an operation gives no tensor or one without channels."""
    shape = shape_of(node)
    return shape[1] if shape is not None and len(shape) >= 2 else None


def shape_of(node: fx.Node) -> torch.Size | None:
    """Shape of what an operation gives for one image, None where that is no tensor."""
    meta = node.meta.get("tensor_meta") if node.op != "output" else None
    return meta.shape if isinstance(meta, TensorMetadata) else None


def follow(node: fx.Node, constant_C: Tensor) -> Channels:
    """Channel by channel what comes in."""
    return Channels(constant_C, [(node.args[0], torch.arange(len(constant_C)))])


def flattened(node: fx.Node, source: Channels) -> Channels:
    """N×C×H×W → N×CHW: a channel becomes H·W features."""
    features = shape_of(node)[1]
    channel_C = torch.arange(features) // (features // len(source.constant))
    return Channels(source.constant[channel_C], [(node.args[0], channel_C)])
