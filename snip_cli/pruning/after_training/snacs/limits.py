"""Upper limits of pruning: how much each layer can lose by itself, as far as the operating constraints say (`constraints`).

Shapes: N images, I inputs of the child, K places of its kernel, G groups of the child's channels, H groups of the parent's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.connections import Connections
from snip_cli.pruning.after_training.snacs.constraints import highest_connected, keep_strongest
from snip_cli.pruning.after_training.snacs.groups import Bounds, each_connection
from snip_cli.pruning.after_training.snacs.input_means import mean_outputs
from snip_cli.pruning.after_training.snacs.probe import Probe

# 1, 6, …, 96 %: nearly all layers that the authors' code reports lie at one of these.
GRID = tuple(percent / 100 for percent in range(1, 97, 5))
# How far accuracy may fall, as a part of what lies between its highest and its lowest over the grid: the constant in the authors' code.
SLACK = 0.7


@dataclass(frozen=True)
class LayerLimit:
    """How much one layer can lose: `limit`, a part of its connections in [0, 1), and which constraint set it.

    `accuracy` is the probe's at each fraction of `grid`, and `unpruned` its accuracy on what it learnt from.
    """

    name: str
    limit: float
    bound_by: str
    grid: tuple[float, ...]
    accuracy: tuple[float, ...]
    unpruned: float


def connections_limit(
    model: nn.Module,
    found: Connections,
    scores_GH: Tensor,
    means_NIK: Tensor,
    labels_N: Tensor,
    *,
    grid: Sequence[float] = GRID,
    slack: float = SLACK,
) -> LayerLimit:
    """The limit of the connections `found` of one of the model's layers; arguments and errors as in `layer_limit`."""
    child = model.get_submodule(found.child)
    return layer_limit(
        found.child,
        scores_GH,
        means_NIK,
        child.weight.detach().cpu(),
        None if child.bias is None else child.bias.detach().cpu(),
        labels_N,
        child_bounds=found.child_bounds,
        parent_bounds=found.parent_bounds,
        grid=grid,
        slack=slack,
    )


def layer_limit(
    name: str,
    scores_GH: Tensor,
    means_NIK: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels_N: Tensor,
    *,
    child_bounds: Bounds,
    parent_bounds: Bounds,
    grid: Sequence[float] = GRID,
    slack: float = SLACK,
) -> LayerLimit:
    """The largest fraction of the grid at which the probe's accuracy is at least max − slack · (max − min) of those over the grid.

    Each fraction prunes this layer alone, by its scores; nothing is retrained. As the authors' code has it, but that every child group
    keeps its strongest connection, and that `unpruned` is told beside the grid.

    Args:
        name: the layer's.
        scores_GH: larger = keep.
        means_NIK: of its inputs (`input_means`).
        weight, bias: its own, on the CPU.
        labels_N: the images' classes.
        child_bounds, parent_bounds: its groups (`group_bounds`).
        grid: rising fractions in (0, 1).
        slack: in [0, 1]; more of it gives higher limits.

    Raises:
        ConfigError: the grid or the slack is out of range.
    """
    check_sweep(grid, slack)
    inputs_per_channel = weight.shape[1] // parent_bounds[-1][1]
    probe = Probe(original := mean_outputs(means_NIK, weight, bias), labels_N)
    accuracy = []
    for fraction in grid:
        keep_CI = each_connection(
            keep_strongest(scores_GH.cpu(), fraction),
            child_bounds=child_bounds,
            parent_bounds=parent_bounds,
            inputs_per_channel=inputs_per_channel,
        )
        pruned = weight * keep_CI.view(*keep_CI.shape, *(1,) * (weight.dim() - 2))
        accuracy.append(probe.accuracy(mean_outputs(means_NIK, pruned, bias)))
    floor = max(accuracy) - slack * (max(accuracy) - min(accuracy))
    limit = max(fraction for fraction, reached in zip(grid, accuracy, strict=True) if reached >= floor)
    bound_by = "grid" if limit == grid[-1] else "accuracy"
    if limit > (connected := highest_connected(scores_GH)):
        limit, bound_by = connected, "connected"
    return LayerLimit(name, limit, bound_by, tuple(grid), tuple(accuracy), probe.accuracy(original))


def check_sweep(grid: Sequence[float], slack: float) -> None:
    """Raise ConfigError unless the grid rises within (0, 1) and the slack lies in [0, 1]."""
    if not grid or list(grid) != sorted(set(grid)) or not 0 < grid[0] <= grid[-1] < 1:
        raise ConfigError(f"method.limit_grid must be rising fractions between 0 and 1, not {list(grid)}.")
    if not 0 <= slack <= 1:
        raise ConfigError(f"method.limit_slack must lie in [0, 1], not {slack}.")
