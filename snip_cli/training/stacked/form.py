"""What the training of a stack knows of an architecture, and how the units that stay are chosen.

A unit (an input, a channel, a hidden unit) is dead where nothing reaches it, so that its output is a constant zero, or where it
reaches no output. The weights of a dead unit have no gradient: taking it out changes nothing but the rounding.

R: replicates, U: units of an axis, n: units of it that stay, the same number for every replicate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from snip_cli.pruning.mask import Mask

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Places:
    """Where in each parameter the units are that stay.

    `rows`: per parameter the entries along its first dimensions that stay, R×n each, rising. `columns`: per layer the features
    that it reads of those that it is given, where it does not read all. `gates`: of a recurrent layer, per product the gates that
    have a weight in it.
    """

    rows: dict[str, tuple[Tensor, ...]]
    columns: dict[str, Tensor]
    gates: dict[str, list[int]] = field(default_factory=dict)

    def to(self, device: torch.device) -> "Places":
        """The same on a device."""
        rows = {name: tuple(row.to(device) for row in found) for name, found in self.rows.items()}
        return Places(rows, {name: column.to(device) for name, column in self.columns.items()}, self.gates)


class Form(Protocol):
    """An architecture without batch-norm and without draws in its forward pass."""

    # Whether a processor trains several at a time faster than one after another.
    quick_on_cpu: bool

    def quick_alone(self, device: torch.device) -> bool:
        """Whether one network whose dead units are taken out can be faster here than the whole one with its mask."""
        ...

    def places(self, masks: Sequence[Mask]) -> Places:
        """What stays of the networks that the masks prune."""
        ...

    def outputs(self, weights: Weights, places: Places, images_RBCHW: Tensor) -> Tensor:
        """R×B×classes, for the weights that stay, stacked."""
        ...

    def gradients(
        self, weights: Weights, places: Places, images_RBCHW: Tensor, labels_RB: Tensor
    ) -> tuple[Tensor, Weights] | None:
        """The R mean losses and their gradients by the weights, where this is faster than autograd; else None."""
        ...


def level(alive_RU: Tensor, among_RU: Tensor | None = None) -> Tensor:
    """R×n numbers of units, rising: the living ones and, where a replicate has fewer than another, dead ones (of `among`, if given).

    A dead unit that stays is trained as the mask says, which is as exact as taking it out. At least one stays.
    """
    among_RU = torch.ones_like(alive_RU) if among_RU is None else among_RU
    count = max(1, int(alive_RU.sum(dim=1).max()))
    rank_RU = 2 * alive_RU.to(torch.int8) + among_RU.to(torch.int8)
    order_RU = rank_RU.argsort(dim=1, descending=True, stable=True)
    return order_RU[:, :count].sort(dim=1).values


def select(values_RBF: Tensor, columns_Rn: Tensor) -> Tensor:
    """Each replicate's columns: R×B×n."""
    count, batch, _ = values_RBF.shape
    if count == 1:
        return values_RBF.index_select(2, columns_Rn[0])
    return values_RBF.gather(2, columns_Rn[:, None].expand(-1, batch, -1))
