"""R networks of one architecture as one, and the way between them and single networks.

R: replicates, B: images of a batch.
"""

from collections.abc import Mapping, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask
from snip_cli.training.stacked.chain import Chain
from snip_cli.training.stacked.form import Form, Places, Weights
from snip_cli.training.stacked.rows import Rows


def form_of(model: nn.Module) -> Form | None:
    """The form of a network that can be stacked: a chain of convolutions and linear layers, or a recurrent one; else None.

    One with frozen parameters, which no mask has, cannot be.
    """
    if {*prunable_parameters(model)} != {name for name, _ in model.named_parameters()}:
        return None
    return Chain.of(model) or Rows.of(model)


def left_over(form: Form, mask: Mask) -> float:
    """How many weights, pruned or not, lie between units that stay, as a part of all, in (0, 1]."""
    rows = form.places([mask]).rows
    left = sum(
        keep.numel() * prod(len(r[0]) for r in rows[name]) / prod(keep.shape[: len(rows[name])])
        for name, keep in mask.items()
    )
    return left / sum(keep.numel() for keep in mask.values())


class Stack:
    """Stacked parameters of the units that stay, and the kept weights of dead units, `idle`: they have no gradient, but decay.

    Tensors "of a single network" are by parameter name and in its shape, one dictionary a replicate. Stacked matrices are held
    transposed, R×I×O, as the product gives their gradient: so the optimizer needs no copy of one of the two.
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
        self._pruned, self._masks = [block for block, _ in pruned], [keep.to(block) for block, keep in pruned]
        self.apply_masks()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained, in the order of `take`."""
        return [*self.blocks, self.idle]

    def __call__(self, images_RBCHW: Tensor) -> Tensor:
        """R×B×classes."""
        return self.form.outputs(self._weights(), self._places, images_RBCHW)

    def differentiate(self, images_RBCHW: Tensor, labels_RB: Tensor) -> Tensor:
        """Set the gradient of each replicate's mean loss; gives the R losses."""
        for block in self.blocks:
            block.grad = None
        with torch.no_grad():
            found = self.form.gradients(self._weights(), self._places, images_RBCHW, labels_RB)
        if found is None:
            return self._differentiate_by_autograd(images_RBCHW, labels_RB)
        losses_R, gradients = found
        for name, block in zip(self.names, self.blocks, strict=True):
            block.grad = transposed(gradients[name])
        return losses_R

    def _differentiate_by_autograd(self, images_RBCHW: Tensor, labels_RB: Tensor) -> Tensor:
        losses = F.cross_entropy(self(images_RBCHW).flatten(0, 1), labels_RB.flatten(), reduction="none")
        losses_R = losses.view_as(labels_RB).mean(dim=1)
        losses_R.sum().backward()
        for block in self.blocks:
            if block.grad is None:  # a gate that acts on nothing, whose weights still decay
                block.grad = torch.zeros_like(block)
        return losses_R.detach()

    def _weights(self) -> Weights:
        return {name: transposed(block) for name, block in zip(self.names, self.blocks, strict=True)}

    @torch.no_grad()
    def apply_masks(self) -> None:
        """Set every pruned weight to zero."""
        if self._pruned:
            torch._foreach_mul_(self._pruned, self._masks)

    @torch.no_grad()
    def set(self, taken: Sequence[Tensor]) -> None:
        """Set the parameters to what `take` gave."""
        for parameter, tensor in zip(self.parameters, taken, strict=True):
            parameter.copy_(tensor)

    def take(self, singles: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
        """What the stack holds of tensors of single networks: a block a parameter, and the entries of dead units in a row."""
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
        """The tensors of single networks that `take` took, on the CPU; zero where they are pruned."""
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
        """The index of a replicate's block in a parameter of a single network."""
        return torch.meshgrid(*(rows[number].cpu() for rows in (places or self._places).rows[name]), indexing="ij")

    def _outside(self, mask: Mask, places: Places, number: int) -> dict[str, Tensor]:
        """Where in each parameter, flat, the kept entries of dead units are."""
        outside = {}
        for name, keep in mask.items():
            left = keep.clone()
            left[self._where(name, number, places)] = False
            outside[name] = left.flatten().nonzero().flatten().to(self.device)
        return outside


def transposed(block: Tensor) -> Tensor:
    """Stacked matrices R×O×I as R×I×O, and back; anything else as it is."""
    return block.mT if block.dim() == 3 else block
