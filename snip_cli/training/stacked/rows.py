"""Recurrent networks that read an image row by row: cells written as batched matrix products.

A product leaves out the gates that none of its kept weights reaches; a gate that no product reaches is a constant.

R: replicates, B: images of a batch, H: rows of an image, F: its columns, P: units of the projection, U: hidden units, G: gates.
"""

from collections.abc import Sequence
from functools import cached_property, reduce

import torch
from torch import Tensor, nn

from snip_cli.models.recurrent import CANDIDATE, RowByRow, spread
from snip_cli.pruning.mask import Mask
from snip_cli.training.stacked.stack import Places, Weights, level, select


class Rows:
    """The form of a `RowByRow`."""

    quick_alone = False  # PyTorch has a fused layer for both kinds on a GPU

    def __init__(self, model: RowByRow) -> None:
        self.units, self.projected = model.recurrent.hidden_size, model.recurrent.input_size
        self.is_lstm = isinstance(model.recurrent, nn.LSTM)
        self.quick_on_cpu = not self.is_lstm  # PyTorch fuses the LSTM alone
        self.bias_G = model.get_buffer("gate_bias").view(-1, self.units)[:, 0]

    @cached_property
    def constants(self) -> list[float]:
        """The constant that is added to each gate."""
        return self.bias_G.tolist()

    @classmethod
    def of(cls, model: nn.Module) -> "Rows | None":
        """Return the form of `model`; None if it is no such network."""
        return cls(model) if type(model) is RowByRow else None

    def places(self, masks: Sequence[Mask]) -> Places:
        """Return what remains of the networks that the masks prune: image columns, units of the projection, hidden units and gates."""
        alive = [self.alive(mask) for mask in masks]
        pixels, projected, hidden = (level(torch.stack(found)) for found in zip(*alive, strict=True))
        gates = {side: self.gates(side, masks, [units for *_, units in alive]) for side in ("ih", "hh")}
        rows: dict[str, tuple[Tensor, ...]] = {"projection.weight": (projected, pixels)}
        for side, read in (("ih", projected), ("hh", hidden)):
            written = torch.cat([gate * self.units + hidden for gate in gates[side]], dim=1)
            rows[f"recurrent.weight_{side}_l0"] = (written, read)
            rows[f"recurrent.bias_{side}_l0"] = (written,)
        outputs = torch.arange(len(masks[0]["classifier.bias"])).expand(len(masks), -1)
        rows |= {"classifier.weight": (outputs, hidden), "classifier.bias": (outputs,)}
        columns = {"projection": pixels} if pixels.shape[1] < alive[0][0].numel() else {}
        return Places(rows, columns, gates)

    def by_gate(self, mask: Mask, name: str) -> Tensor:
        """Return the mask of a parameter of the recurrent layer as G×U×…"""
        return mask[f"recurrent.{name}_l0"].unflatten(0, (-1, self.units))

    def alive(self, mask: Mask) -> tuple[Tensor, Tensor, Tensor]:
        """Return which image columns, units of the projection and hidden units are alive, bool."""
        projection_PF = mask["projection.weight"]
        read_GUP, back_GUU = self.by_gate(mask, "weight_ih"), self.by_gate(mask, "weight_hh")
        biases_GU = self.by_gate(mask, "bias_ih") | self.by_gate(mask, "bias_hh")
        projected_P = projection_PF.any(dim=1)
        reached_U = spread(biases_GU[CANDIDATE] | (read_GUP[CANDIDATE] & projected_P).any(dim=1), back_GUU[CANDIDATE])
        back_UU = back_GUU.any(dim=0) & reached_U & reached_U[:, None]
        hidden_U = spread(mask["classifier.weight"].any(dim=0) & reached_U, back_UU.T)
        projected_P = projected_P & (read_GUP.any(dim=0) & hidden_U[:, None]).any(dim=0)
        return (projection_PF & projected_P[:, None]).any(dim=0), projected_P, hidden_U

    def gates(self, side: str, masks: Sequence[Mask], hidden: Sequence[Tensor]) -> list[int]:
        """Return the gates that a product reaches in any replicate, at least one.

        `side` is the product: `ih` from the projection, `hh` from the output of the row before.
        """
        reached = torch.zeros(len(self.bias_G), dtype=torch.bool)
        for mask, alive_U in zip(masks, hidden, strict=True):
            kept_GU = self.by_gate(mask, f"weight_{side}").any(dim=2) | self.by_gate(mask, f"bias_{side}")
            reached |= (kept_GU & alive_U).any(dim=1)
        return reached.nonzero().flatten().tolist() or [CANDIDATE]

    def outputs(self, weights: Weights, places: Places, images_RBCHW: Tensor) -> Tensor:
        """Return the outputs, R×B×classes."""
        rows_RHBF = images_RBCHW.squeeze(2).transpose(1, 2)
        count, height, batch, _ = rows_RHBF.shape
        values = rows_RHBF.flatten(1, 2)
        if places.columns:
            values = select(values, places.columns["projection"])
        values = values @ weights["projection.weight"].mT
        bias = weights["recurrent.bias_ih_l0"][:, None]
        read = torch.baddbmm(bias, values, weights["recurrent.weight_ih_l0"].mT).unflatten(1, (height, batch))
        back_RUG, back_bias = weights["recurrent.weight_hh_l0"].mT, weights["recurrent.bias_hh_l0"][:, None]
        state = read.new_zeros(count, batch, back_RUG.shape[1])
        hidden, cell = state, state
        for read_RBG in read.unbind(1):
            parts_read = self.parts(read_RBG, places.gates["ih"])
            parts_back = self.parts(torch.baddbmm(back_bias, hidden, back_RUG), places.gates["hh"])
            if self.is_lstm:
                hidden, cell = self.lstm(parts_read, parts_back, cell)
            else:
                hidden = self.gru(parts_read, parts_back, hidden)
        return torch.baddbmm(weights["classifier.bias"][:, None], hidden, weights["classifier.weight"].mT)

    def gradients(
        self, weights: Weights, places: Places, images_RBCHW: Tensor, labels_RB: Tensor, smoothing: float
    ) -> None:
        """Return None: autograd computes them."""

    @staticmethod
    def parts(values: Tensor, gates: list[int]) -> dict[int, Tensor]:
        return dict(zip(gates, values.chunk(len(gates), dim=2), strict=True))

    def lstm(self, read: dict[int, Tensor], back: dict[int, Tensor], cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the cell state after one row."""
        write, forget, output = (self.gate(number, read, back) for number in (0, 1, 3))
        cell = forget * cell + write * torch.tanh(total(CANDIDATE, read, back))
        return output * torch.tanh(cell), cell

    def gru(self, read: dict[int, Tensor], back: dict[int, Tensor], hidden: Tensor) -> Tensor:
        """Return the output after one row."""
        reset, update = (self.gate(number, read, back) for number in (0, 1))
        if CANDIDATE in back:
            back = {CANDIDATE: reset * back[CANDIDATE]}
        new = torch.tanh(total(CANDIDATE, read, back))
        return new + update * (hidden - new)

    def gate(self, number: int, read: dict[int, Tensor], back: dict[int, Tensor]) -> Tensor | float:
        """Return a gate's value in (0, 1): a number if nothing reaches the gate."""
        constant = self.constants[number]
        if number in read or number in back:
            values = total(number, read, back)
            return torch.sigmoid(values + constant if constant else values)
        return torch.sigmoid(torch.tensor(constant, dtype=torch.float64)).item()


def total(number: int, read: dict[int, Tensor], back: dict[int, Tensor]) -> Tensor:
    """Return the sum of what reaches a gate from the two products, at least from one."""
    return reduce(torch.add, [side[number] for side in (read, back) if number in side])
