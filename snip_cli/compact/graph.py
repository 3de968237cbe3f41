"""A network as a graph of operations, and what stays of every tensor in it."""

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from snip_cli.compact.channels import Channels, Flow, find_needed, keep_together, width
from snip_cli.compact.layers import Ones, Selected
from snip_cli.compact.operations import understood
from snip_cli.errors import ConfigError


class Tracer(fx.Tracer):
    """Looks into no convolution, whatever it computes its padding from, and into no layer that compaction put in."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Conv2d | Ones | Selected) or super().is_leaf_module(module, name)


def traced(model: nn.Module, shape: tuple[int, ...]) -> fx.GraphModule:
    """The network as a graph of operations, each with the shape of what it gives for one image of `shape`.

    Raises ConfigError where the network's forward pass depends on more than the shape of its input.
    """
    try:
        graph = fx.GraphModule(model, Tracer().trace(model))
    except Exception as error:  # whatever a user's forward pass stumbles on when it is given no numbers
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"This network cannot be made smaller, as torch.fx cannot follow its forward pass ({reason}): write that without conditions on its input."
        ) from error
    like = next(model.parameters())
    with torch.no_grad():
        ShapeProp(graph).propagate(torch.zeros(1, *shape, dtype=like.dtype, device=like.device))
    return graph.eval()


def flow(graph: fx.GraphModule) -> Flow:
    """What stays of every tensor in the graph, such that the output is the same: see `Channels`."""
    found: Flow = {}
    for node in graph.graph.nodes:
        channels = understood(node, graph, found)
        if channels is None:  # its inputs must stay as they are, and so must its output
            for source in node.all_input_nodes:
                if source in found:
                    found[source].needed[:] = found[source].kept[:] = True
            if (count := width(node)) is None:
                continue
            channels = Channels(torch.full((count,), torch.nan, dtype=torch.float64))
            channels.needed[:] = channels.kept[:] = True
        found[node] = channels
    find_needed(found)
    keep_together(found)
    for channels in found.values():
        if channels.reads is not None and not channels.kept.any():
            channels.kept[0] = True  # a layer of no units is none
            keep_together(found)
    return found
