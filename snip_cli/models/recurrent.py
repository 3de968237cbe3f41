"""LSTM-s/-b and GRU-s/-b (Section 5.3 and Table 2 of Lee et al. 2019), which read an image row by row.

The paper gives the numbers of units and no code. All eight of its counts of parameters come from a linear projection of the row without
bias, PyTorch's own layer (with its two biases a gate) and a linear classifier; they do not from the layer on the row itself.
That the projection has no activation, and that the last step is classified, is our choice.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from snip_cli.models.shapes import check_channels
from snip_cli.registry import models

# PyTorch's order of the gates: input, forget, cell, output; and reset, update, new. A unit whose third is empty stays at zero.
CANDIDATE = 2


@models.register("lstm_s")
def lstm_s(shape: tuple[int, int, int], classes: int, *, gate_bias: float = 1.0) -> nn.Module:
    """LSTM of 128 units; 136,970 parameters at 1×28×28 and 10 classes. Takes images of one channel, of any size."""
    check_channels("lstm_s", shape, 1)
    return RowByRow(shape[2], nn.LSTM(128, 128, batch_first=True), classes, gate_bias)


@models.register("lstm_b")
def lstm_b(shape: tuple[int, int, int], classes: int, *, gate_bias: float = 1.0) -> nn.Module:
    """LSTM of 256 units; 536,074 parameters at 1×28×28 and 10 classes. Takes images of one channel, of any size."""
    check_channels("lstm_b", shape, 1)
    return RowByRow(shape[2], nn.LSTM(256, 256, batch_first=True), classes, gate_bias)


@models.register("gru_s")
def gru_s(shape: tuple[int, int, int], classes: int, *, gate_bias: float = 1.0) -> nn.Module:
    """GRU of 128 units; 103,946 parameters at 1×28×28 and 10 classes. Takes images of one channel, of any size."""
    check_channels("gru_s", shape, 1)
    return RowByRow(shape[2], nn.GRU(128, 128, batch_first=True), classes, gate_bias)


@models.register("gru_b")
def gru_b(shape: tuple[int, int, int], classes: int, *, gate_bias: float = 1.0) -> nn.Module:
    """GRU of 256 units; 404,490 parameters at 1×28×28 and 10 classes. Takes images of one channel, of any size."""
    check_channels("gru_b", shape, 1)
    return RowByRow(shape[2], nn.GRU(256, 256, batch_first=True), classes, gate_bias)


class RowByRow(nn.Module):
    """Projects each row of an image, gives the rows to a recurrent layer from top to bottom, and classifies its last output.

    `gate_bias` is a constant, no parameter, that is added to the forget gate of an LSTM, and to the reset and update gates of a GRU: 1
    in TensorFlow's cells, in whose words the paper was written, 0 in PyTorch's. Without it such a cell forgets half of its state at every
    row, and SNIP, which sees no use for the gates then, keeps next to none of their weights.
    """

    def __init__(self, row: int, recurrent: nn.LSTM | nn.GRU, classes: int, gate_bias: float) -> None:
        super().__init__()
        self.projection = nn.Linear(row, recurrent.input_size, bias=False)
        self.recurrent = recurrent
        self.classifier = nn.Linear(recurrent.hidden_size, classes)
        units = recurrent.hidden_size
        # PyTorch's order of the gates: input, forget, cell, output; and reset, update, new.
        gates = (0, 1, 0, 0) if isinstance(recurrent, nn.LSTM) else (1, 1, 0)
        constant = torch.tensor([gate_bias * float(gate) for gate in gates for _ in range(units)])
        self.register_buffer("gate_bias", constant, persistent=False)

    def forward(self, images_N1HW: Tensor) -> Tensor:
        rows_NHF = self.projection(images_N1HW.squeeze(1))
        # Mixed precision would run cuDNN's layer in float16, whatever type it was asked for.
        device = rows_NHF.device.type
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            last_NF = self.last_output(rows_NHF.to(self.gate_bias.dtype))
        return self.classifier(last_NF)

    def last_output(self, rows_NHF: Tensor) -> Tensor:
        """The layer's output after the last row."""
        # Not len(), which would fix the batch's size in an exported network.
        state_1NF = rows_NHF.new_zeros(1, rows_NHF.shape[0], self.recurrent.hidden_size)
        is_lstm = isinstance(self.recurrent, nn.LSTM)
        layer: Callable[..., tuple[Tensor, ...]] = torch.lstm if is_lstm else torch.gru
        start = (state_1NF, state_1NF) if is_lstm else state_1NF
        # With biases, one layer, no dropout, one direction, the batch first.
        outputs_NHF = layer(rows_NHF, start, self.weights(), True, 1, 0.0, self.training, False, True)[0]
        return outputs_NHF[:, -1]

    def weights(self) -> list[Tensor]:
        """The layer's weights with the constant, in one piece of memory as cuDNN has them, which saves it a copy and a warning."""
        layer = self.recurrent
        parts = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0 + self.gate_bias)
        flat = torch.cat([part.flatten() for part in parts])
        pieces = flat.split([part.numel() for part in parts])
        return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]


def spread(start_U: Tensor, onto_UU: Tensor) -> Tensor:
    """All units that are reached from `start` along `onto` (row: to, column: from), themselves included."""
    while True:
        further_U = start_U | (onto_UU & start_U).any(dim=1)
        if torch.equal(further_U, start_U):
            return start_U
        start_U = further_U
