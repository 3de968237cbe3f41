"""Units of a recurrent layer that stay at zero, or that nothing reads, are removed."""

import pytest
import torch

from snip_cli.compact.network import compact
from tests.compact.emptied import largest_difference, lived_in
from tests.models.test_models import EXPECTED, build

EXACT = 1e-9


def gates(weight, units):
    """(gates, units, …) of a weight that has all gates in its first axis."""
    return weight.view(-1, units, *weight.shape[1:])


@pytest.fixture(params=["lstm_s", "gru_s"])
def model(request):
    return lived_in(build(request.param))


def sizes_of(model):
    result = compact(model, EXPECTED["lstm_s"][0])
    assert largest_difference(model, result.network, EXPECTED["lstm_s"][0]) < EXACT
    return [layer["outputs"][1] for layer in result.layers]


@torch.no_grad()
def test_a_unit_that_nothing_reads_goes_with_everything_that_only_it_reads(model):
    recurrent = model.recurrent
    model.classifier.weight[:, [3, 4]] = 0
    recurrent.weight_hh_l0[:, [3, 4]] = 0
    gates(recurrent.weight_hh_l0, 128)[:, 3, 4] = 1.0  # unit 4 is read by unit 3 alone
    recurrent.weight_ih_l0[:, 7] = 0
    gates(recurrent.weight_ih_l0, 128)[:, 4, 7] = 1.0  # and the projection's feature 7 by unit 4
    assert sizes_of(model) == [127, 126, 10]


@torch.no_grad()
def test_units_that_read_themselves_and_are_read_by_no_other_go(model):
    recurrent = model.recurrent
    model.classifier.weight[:, 3] = 0
    recurrent.weight_hh_l0[:, 3] = 0
    gates(recurrent.weight_hh_l0, 128)[:, 3, 3] = 1.0
    assert sizes_of(model) == [128, 127, 10]


@torch.no_grad()
def test_a_unit_whose_candidate_reads_zeros_stays_at_zero_whatever_its_other_gates_do(model):
    recurrent = model.recurrent
    for weight in (recurrent.weight_ih_l0, recurrent.weight_hh_l0, recurrent.bias_ih_l0, recurrent.bias_hh_l0):
        gates(weight, 128)[2, [3, 4]] = 0
    gates(recurrent.weight_hh_l0, 128)[2, 3, 4] = gates(recurrent.weight_hh_l0, 128)[2, 4, 3] = 1.0  # each other
    assert sizes_of(model) == [128, 126, 10]


@torch.no_grad()
def test_a_unit_with_a_bias_alone_moves_and_stays(model):
    recurrent = model.recurrent
    for weight in (recurrent.weight_ih_l0, recurrent.weight_hh_l0, recurrent.bias_ih_l0):
        gates(weight, 128)[:, 3] = 0
    assert gates(recurrent.bias_hh_l0, 128)[2, 3] != 0
    assert sizes_of(model) == [128, 128, 10]


@torch.no_grad()
def test_a_projected_feature_that_is_zero_goes(model):
    model.projection.weight[[0, 5]] = 0
    assert sizes_of(model) == [126, 128, 10]
