"""Which units and gates of a recurrent network stay."""

import torch

from snip_cli import registry
from snip_cli.models.recurrent import spread
from snip_cli.training.stacked.rows import Rows

UNITS = 128


def empty_mask(model):
    return {name: torch.zeros(p.shape, dtype=torch.bool) for name, p in model.named_parameters()}


def path(mask, column, projected, unit):
    """Keep what leads from a column of the image over a unit of the projection to a hidden unit's cell and to an output."""
    mask["projection.weight"][projected, column] = True
    mask["recurrent.weight_ih_l0"][2 * UNITS + unit, projected] = True
    mask["classifier.weight"][0, unit] = True


def lstm():
    return registry.models["lstm_s"]((1, 6, 6), 10)


def test_units_between_an_input_and_an_output_stay_and_gates_that_nothing_reaches_go():
    model = lstm()
    mask = empty_mask(model)
    path(mask, 3, 7, 5)
    mask["recurrent.weight_ih_l0"][9, 7] = True  # the input gate of unit 9, whose cell nothing reaches
    mask["recurrent.weight_hh_l0"][2 * UNITS + 11, 5] = True  # unit 11 reads 5, and nothing reads 11
    places = Rows.of(model).places([mask])
    assert places.rows["projection.weight"][0].tolist() == [[7]]
    assert places.rows["projection.weight"][1].tolist() == [[3]]
    assert places.rows["recurrent.weight_hh_l0"][1].tolist() == [[5]]
    assert places.rows["recurrent.weight_ih_l0"][0].tolist() == [[2 * UNITS + 5]]
    assert places.gates == {"ih": [2], "hh": [2]}


def test_a_unit_that_reaches_the_outputs_over_another_ones_gate_stays():
    model = lstm()
    mask = empty_mask(model)
    path(mask, 3, 7, 5)
    path(mask, 4, 8, 6)
    mask["classifier.weight"][0, 6] = False
    mask["recurrent.weight_hh_l0"][UNITS + 5, 6] = True  # the forget gate of unit 5 reads unit 6
    places = Rows.of(model).places([mask])
    assert places.rows["recurrent.weight_hh_l0"][1].tolist() == [[5, 6]]
    assert places.gates == {"ih": [2], "hh": [1]}


def test_a_unit_with_a_bias_alone_stays():
    model = lstm()
    mask = empty_mask(model)
    mask["recurrent.bias_hh_l0"][2 * UNITS + 4] = True
    mask["classifier.weight"][0, 4] = True
    places = Rows.of(model).places([mask])
    assert places.rows["classifier.weight"][1].tolist() == [[4]]


def test_spreading_follows_chains():
    onto = torch.zeros(5, 5, dtype=torch.bool)
    onto[1, 0] = onto[2, 1] = onto[3, 4] = True
    start = torch.tensor([True, False, False, False, False])
    assert spread(start, onto).tolist() == [True, True, True, False, False]
