"""R networks of one architecture as one, the way between the stack and single networks, and what a stack knows of an architecture.

A unit (an input, a channel, a hidden unit) is dead if nothing reaches it, so that its output is always zero, or if it reaches no output.
The weights of a dead unit have no gradient: removing the unit changes nothing but the rounding.

R: replicates, B: images of a batch, U: units of an axis, n: units of the axis that remain, the same number for every replicate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask
from snip_cli.training.losses import training_losses

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Places:
    """Where in each parameter the remaining units are.

    Attributes:
        rows: by parameter, the entries that remain along its first dimensions, R×n each, ascending.
        columns: by layer, the features that it reads of those that it is given, if it does not read all.
        gates: for a recurrent layer, by product, the gates that have a weight in it.
    """

    rows: dict[str, tuple[Tensor, ...]]
    columns: dict[str, Tensor]
    gates: dict[str, list[int]] = field(default_factory=dict)

    def to(self, device: torch.device) -> "Places":
        """Return the same places on a device."""
        rows = {name: tuple(row.to(device) for row in found) for name, found in self.rows.items()}
        return Places(rows, {name: column.to(device) for name, column in self.columns.items()}, self.gates)


class Form(Protocol):
    """An architecture without batch-norm and without random numbers in its forward pass."""

    # Whether a CPU trains several networks faster as one than one after another.
    quick_on_cpu: bool
    # Whether a GPU can train a single network faster without its dead units than whole with its mask.
    quick_alone: bool

    def places(self, masks: Sequence[Mask]) -> Places:
        """Return what remains of the networks that the masks prune."""
        ...

    def outputs(self, weights: Weights, places: Places, images_RBCHW: Tensor) -> Tensor:
        """Return the outputs, R×B×classes, for the remaining weights, stacked."""
        ...

    def gradients(
        self, weights: Weights, places: Places, images_RBCHW: Tensor, labels_RB: Tensor, smoothing: float
    ) -> tuple[Tensor, Weights] | None:
        """Return the R mean losses, and the gradients of those with label smoothing, if this is faster than autograd; None if not."""
        ...


def level(alive_RU: Tensor, among_RU: Tensor | None = None) -> Tensor:
    """Return R×n unit numbers, ascending: the units alive, and dead ones (of `among`, if given) for replicates that have fewer.

    A dead unit that remains is trained as the mask says, which is as exact as removing it. At least one unit remains.
    """
    among_RU = torch.ones_like(alive_RU) if among_RU is None else among_RU
    count = max(1, int(alive_RU.sum(dim=1).max()))
    rank_RU = 2 * alive_RU.to(torch.int8) + among_RU.to(torch.int8)
    order_RU = rank_RU.argsort(dim=1, descending=True, stable=True)
    return order_RU[:, :count].sort(dim=1).values


def select(values_RBF: Tensor, columns_Rn: Tensor) -> Tensor:
    """Return each replicate's columns, R×B×n."""
    count, batch, _ = values_RBF.shape
    if count == 1:
        return values_RBF.index_select(2, columns_Rn[0])
    return values_RBF.gather(2, columns_Rn[:, None].expand(-1, batch, -1))


def remaining_share(form: Form, mask: Mask) -> float:
    """Return the share of all weights, pruned or not, that lie between remaining units, in (0, 1]."""
    rows = form.places([mask]).rows
    remaining = sum(
        keep.numel() * prod(len(r[0]) for r in rows[name]) / prod(keep.shape[: len(rows[name])])
        for name, keep in mask.items()
    )
    return remaining / sum(keep.numel() for keep in mask.values())


class Stack:
    """Stacked parameters of the remaining units, and the kept weights of dead units, `idle`, which have no gradient but decay.

    Tensors "of a single network" are by parameter name and in its shape, one dictionary per replicate. Stacked matrices are held
    transposed, R×I×O, as their product returns the gradient, so that the optimizer copies neither.
    """

    def __init__(self, form: Form, models: Sequence[nn.Module], masks: Sequence[Mask]) -> None:
        parameters = [{name: p.detach() for name, p in model.named_parameters()} for model in models]
        self.names, self.count = list(prunable_parameters(models[0])), len(masks)
        assert {*self.names} == {*parameters[0]} == {*masks[0]}
        self.shapes = {name: keep.shape for name, keep in masks[0].items()}
        self.device = parameters[0][self.names[0]].device
        self.form = form
        found = form.places(masks)
        self._idle = [self._outside(mask, found, number) for number, mask in enumerate(masks)]
        self._places = found.to(self.device)
        *blocks, idle = self.take(parameters)
        *kept, _ = self.take([{name: keep.to(self.device) for name, keep in mask.items()} for mask in masks])
        self.blocks = [nn.Parameter(block) for block in blocks]
        self.idle = nn.Parameter(idle)
        self.idle.grad = torch.zeros_like(idle)
        pruned = [(block, keep) for block, keep in zip(self.blocks, kept, strict=True) if not keep.all()]
        self._pruned: list[Tensor] = [block for block, _ in pruned]
        self._masks = [keep.to(block) for block, keep in pruned]
        self.apply_masks()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained, in the order of `take`."""
        return [*self.blocks, self.idle]

    def __call__(self, images_RBCHW: Tensor) -> Tensor:
        """Return the outputs, R×B×classes."""
        return self.form.outputs(self._weights(), self._places, images_RBCHW)

    def differentiate(self, images_RBCHW: Tensor, labels_RB: Tensor, smoothing: float = 0.0) -> Tensor:
        """Set the gradient of each replicate's mean loss with label smoothing; returns the R losses without."""
        for block in self.blocks:
            block.grad = None
        with torch.no_grad():
            found = self.form.gradients(self._weights(), self._places, images_RBCHW, labels_RB, smoothing)
        if found is None:
            return self._differentiate_by_autograd(images_RBCHW, labels_RB, smoothing)
        losses_R, gradients = found
        for name, block in zip(self.names, self.blocks, strict=True):
            block.grad = transposed(gradients[name])
        return losses_R

    def _differentiate_by_autograd(self, images_RBCHW: Tensor, labels_RB: Tensor, smoothing: float) -> Tensor:
        outputs = self(images_RBCHW).flatten(0, 1)
        losses = training_losses(outputs, labels_RB.flatten(), smoothing, reduction="none")
        minimised_R, losses_R = (each.view_as(labels_RB).mean(dim=1) for each in losses)
        minimised_R.sum().backward()
        for block in self.blocks:
            if block.grad is None:  # a gate that acts on nothing, whose weights still decay
                block.grad = torch.zeros_like(block)
        return losses_R

    def _weights(self) -> Weights:
        return {name: transposed(block) for name, block in zip(self.names, self.blocks, strict=True)}

    @torch.no_grad()
    def apply_masks(self) -> None:
        """Set every pruned weight to zero."""
        if self._pruned:
            torch._foreach_mul_(self._pruned, self._masks)

    @torch.no_grad()
    def set(self, taken: Sequence[Tensor]) -> None:
        """Set the parameters to what `take` returned."""
        for parameter, tensor in zip(self.parameters, taken, strict=True):
            parameter.copy_(tensor)

    def take(self, singles: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
        """Return what the stack holds of tensors of single networks: one block per parameter, and one row of dead units' entries."""
        blocks = [
            transposed(
                torch.stack([self._block(single[name], name, r) for r, single in enumerate(singles)])
            ).contiguous()
            for name in self.names
        ]
        idle = [
            single[name].to(self.device).flatten()[at]
            for single, rows in zip(singles, self._idle, strict=True)
            for name, at in rows.items()
        ]
        return [*blocks, torch.cat(idle)]

    def put(self, taken: Sequence[Tensor]) -> list[Weights]:
        """Return the tensors of single networks that `take` took, on the CPU; zero where they are pruned."""
        *blocks, idle = (tensor.detach().cpu() for tensor in taken)
        singles: list[Weights] = []
        rest = iter(idle.split([len(at) for rows in self._idle for at in rows.values()]))
        for number, idle_at in enumerate(self._idle):
            single = {}
            for name, block in zip(self.names, blocks, strict=True):
                single[name] = full = block.new_zeros(self.shapes[name])
                full.view(-1)[idle_at[name].cpu()] = next(rest)
                full[self._where(name, number)] = transposed(block)[number]
            singles.append(single)
        return singles

    def _block(self, tensor: Tensor, name: str, number: int) -> Tensor:
        tensor = tensor.to(self.device)
        for dimension, rows in enumerate(self._places.rows[name]):
            tensor = tensor.index_select(dimension, rows[number])
        return tensor.contiguous()

    def _where(self, name: str, number: int, places: Places | None = None) -> tuple[Tensor, ...]:
        """Return the index of a replicate's block in a parameter of a single network."""
        return torch.meshgrid(*(rows[number].cpu() for rows in (places or self._places).rows[name]), indexing="ij")

    def _outside(self, mask: Mask, places: Places, number: int) -> dict[str, Tensor]:
        """Return where in each parameter, flat, the kept entries of dead units are."""
        outside = {}
        for name, keep in mask.items():
            left = keep.clone()
            left[self._where(name, number, places)] = False
            outside[name] = left.flatten().nonzero().flatten().to(self.device)
        return outside


def transposed(block: Tensor) -> Tensor:
    """Return stacked matrices R×O×I as R×I×O, and the reverse; anything else as it is."""
    return block.mT if block.dim() == 3 else block
