"""LSTM-s/-b and GRU-s/-b (Section 5.3 and Table 2 of Lee et al. 2019), which read an image row by row.

The paper gives the numbers of units but no code. All eight of its parameter counts fit a linear projection of the row
without bias, followed by PyTorch's own layer (with two biases per gate) and a linear classifier. They do not fit the
recurrent layer on the row itself. Two things are our choice: the projection has no activation, and the output after the
last row is classified.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from snip_cli.models.shapes import check_channels
from snip_cli.registry import models

# PyTorch's order of the gates is input, forget, cell, output in an LSTM, and reset, update, new in a GRU.
# A unit whose candidate (the third gate) is empty stays at zero.
CANDIDATE = 2
# The parameters of the recurrent layer, in the order that torch.lstm and torch.gru take them.
PARAMETERS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


@models.register("lstm_s")
def lstm_s(shape: tuple[int, int, int], classes: int, *, gate_bias: float = 1.0) -> nn.Module:
    """Return an LSTM of 128 units; 136,970 parameters at 1×28×28 and 10 classes.

    Takes one-channel images of any size.
    """
    check_channels("lstm_s", shape, 1)
    return RowByRow(shape[2], nn.LSTM(128, 128, batch_first=True), classes, gate_bias)


@models.register("lstm_b")
def lstm_b(shape: tuple[int, int, int], classes: int, *, gate_bias: float = 1.0) -> nn.Module:
    """Return an LSTM of 256 units; 536,074 parameters at 1×28×28 and 10 classes.

    Takes one-channel images of any size.
    """
    check_channels("lstm_b", shape, 1)
    return RowByRow(shape[2], nn.LSTM(256, 256, batch_first=True), classes, gate_bias)


@models.register("gru_s")
def gru_s(shape: tuple[int, int, int], classes: int, *, gate_bias: float = 1.0) -> nn.Module:
    """Return a GRU of 128 units; 103,946 parameters at 1×28×28 and 10 classes. Takes one-channel images of any size."""
    check_channels("gru_s", shape, 1)
    return RowByRow(shape[2], nn.GRU(128, 128, batch_first=True), classes, gate_bias)


@models.register("gru_b")
def gru_b(shape: tuple[int, int, int], classes: int, *, gate_bias: float = 1.0) -> nn.Module:
    """Return a GRU of 256 units; 404,490 parameters at 1×28×28 and 10 classes. Takes one-channel images of any size."""
    check_channels("gru_b", shape, 1)
    return RowByRow(shape[2], nn.GRU(256, 256, batch_first=True), classes, gate_bias)


class RowByRow(nn.Module):
    """Projects each row of an image, feeds the rows to a recurrent layer from top to bottom, and classifies the last
    output.

    `gate_bias` is a constant (not a parameter) that is added to the forget gate of an LSTM, and to the reset and update
    gates of a GRU. It is 1 in TensorFlow's cells, which the authors used, and 0 in PyTorch's. With 0 a cell forgets
    half of its state at every row, so the gates hardly affect the loss and SNIP keeps almost none of their weights.
    """

    gate_bias: Tensor

    def __init__(self, row: int, recurrent: nn.LSTM | nn.GRU, classes: int, gate_bias: float) -> None:
        super().__init__()
        self.projection = nn.Linear(row, recurrent.input_size, bias=False)
        self.recurrent = recurrent
        self.classifier = nn.Linear(recurrent.hidden_size, classes)
        units = recurrent.hidden_size
        gates = (0, 1, 0, 0) if isinstance(recurrent, nn.LSTM) else (1, 1, 0)
        constant = torch.tensor([gate_bias * float(gate) for gate in gates for _ in range(units)])
        self.register_buffer("gate_bias", constant, persistent=False)

    def forward(self, images_N1HW: Tensor) -> Tensor:
        rows_NHF = self.projection(images_N1HW.squeeze(1))
        # Under mixed precision cuDNN's layer would run in float16, whichever type is requested.
        device = rows_NHF.device.type
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            last_NF = self.last_output(rows_NHF.to(self.gate_bias.dtype))
        return self.classifier(last_NF)

    def last_output(self, rows_NHF: Tensor) -> Tensor:
        """Return the recurrent layer's output after the last row, N×F."""
        # shape[0], because len() would fix the batch size in an exported network.
        state_1NF = rows_NHF.new_zeros(1, rows_NHF.shape[0], self.recurrent.hidden_size)
        is_lstm = isinstance(self.recurrent, nn.LSTM)
        layer: Callable[..., tuple[Tensor, ...]] = torch.lstm if is_lstm else torch.gru
        start = (state_1NF, state_1NF) if is_lstm else state_1NF
        # The arguments: biases, one layer, no dropout, training mode, one direction, batch first.
        outputs_NHF = layer(rows_NHF, start, self.weights(), True, 1, 0.0, self.training, False, True)[0]
        return outputs_NHF[:, -1]

    def weights(self) -> list[Tensor]:
        """Return the recurrent layer's parameters, with `gate_bias` added to the last bias.

        They share one piece of memory, as cuDNN expects them; otherwise it would copy them and warn.
        """
        parts: list[Tensor] = [getattr(self.recurrent, name) for name in PARAMETERS]
        parts[-1] = parts[-1] + self.gate_bias
        flat = torch.cat([part.flatten() for part in parts])
        pieces = flat.split([part.numel() for part in parts])
        return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]


def spread(start_U: Tensor, onto_UU: Tensor) -> Tensor:
    """Return the units that are reached from `start_U` along `onto_UU` (rows: to, columns: from), including `start_U`
    itself.
    """
    while True:
        further_U = start_U | (onto_UU & start_U).any(dim=1)
        if torch.equal(further_U, start_U):
            return start_U
        start_U = further_U
