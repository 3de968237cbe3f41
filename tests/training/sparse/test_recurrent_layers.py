"""The kernels know networks that read images row by row with one LSTM or GRU."""

import pytest
from torch import nn

from snip_cli.models.recurrent import RowByRow
from snip_cli.training.sparse.recurrent_layers import recurrent_kind


def row_by_row(make, **changes):
    return RowByRow(7, make(5, 6, batch_first=True, **changes), 4, 1.0)


@pytest.mark.parametrize(("make", "kind"), [(nn.LSTM, "lstm"), (nn.GRU, "gru")])
def test_one_layer_with_biases_is_known(make, kind):
    assert recurrent_kind(row_by_row(make)) == kind


@pytest.mark.parametrize("changes", [{"num_layers": 2}, {"bidirectional": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_other_layers_are_not(make, changes):
    assert recurrent_kind(row_by_row(make, **changes)) is None


def test_a_projection_of_the_outputs_is_not():
    assert recurrent_kind(row_by_row(nn.LSTM, proj_size=3)) is None


def test_another_model_is_not():
    class Other(RowByRow):
        pass

    assert recurrent_kind(Other(7, nn.LSTM(5, 6, batch_first=True), 4, 1.0)) is None
    assert recurrent_kind(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) is None
