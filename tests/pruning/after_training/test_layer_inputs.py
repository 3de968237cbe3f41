"""The rows that a layer reads: rows · weightsᵀ are its outputs, whatever its padding."""

import pytest
import torch
from torch import nn

from snip_cli.errors import ConfigError
from snip_cli.models.tensorflow import SameConv2d
from snip_cli.pruning.after_training.layer_inputs import check_layers, rows_of, units_of


class Own(nn.Conv2d):
    def forward(self, images_NCHW):
        return super().forward(images_NCHW.flip(3))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 5),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        SameConv2d(4, 6, 3),
        SameConv2d(4, 6, 3, 2),
        SameConv2d(4, 6, 1, 2),
    ],
    ids=str,
)
def test_rows_times_weights_are_the_outputs(layer):
    layer.double()
    inputs = (
        torch.randn(3, 4, 7, 6, dtype=torch.float64) if isinstance(layer, nn.Conv2d) else torch.randn(3, 6).double()
    )
    rows_NGPK = rows_of(layer, inputs)
    weights_GKO = layer.weight.flatten(1).unflatten(0, (rows_NGPK.shape[1], -1)).transpose(1, 2)
    outputs = units_of(layer, layer(inputs) - layer.bias.view(-1, *[1] * (layer(inputs).dim() - 2)))
    torch.testing.assert_close(rows_NGPK @ weights_GKO, outputs)


def test_a_convolution_with_a_forward_pass_of_its_own_is_refused():
    model = nn.Sequential(Own(1, 2, 3)).to("meta")
    with pytest.raises(ConfigError, match="'0' is of type Own, which has a forward pass of its own"):
        check_layers(model, torch.zeros(1, 1, 8, 8, device="meta"), "obd")
