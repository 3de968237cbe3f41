"""The recurrent networks read rows from top to bottom, and pruning leaves their fused kernels in use."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from snip_cli import registry
from snip_cli.models.initialisers import initialise
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import apply_mask
from snip_cli.run.python import prune
from tests.models.test_models import build, images

UNITS = {"lstm_s": 128, "lstm_b": 256, "gru_s": 128, "gru_b": 256}
GATES = {"lstm_s": 4, "lstm_b": 4, "gru_s": 3, "gru_b": 3}
every_recurrent = pytest.mark.parametrize("name", UNITS)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def lstm_step(row, state, weight, gate_bias):
    hidden, cell = state
    gates = (
        row @ weight["weight_ih_l0"].T + weight["bias_ih_l0"] + hidden @ weight["weight_hh_l0"].T + weight["bias_hh_l0"]
    )
    write, forget, candidate, read = gates.chunk(4, dim=1)
    cell = (forget + gate_bias).sigmoid() * cell + write.sigmoid() * candidate.tanh()
    return read.sigmoid() * cell.tanh(), cell


def gru_step(row, state, weight, gate_bias):
    hidden, _ = state
    from_row = (row @ weight["weight_ih_l0"].T + weight["bias_ih_l0"]).chunk(3, dim=1)
    from_state = (hidden @ weight["weight_hh_l0"].T + weight["bias_hh_l0"]).chunk(3, dim=1)
    reset, update = ((a + b + gate_bias).sigmoid() for a, b in zip(from_row[:2], from_state[:2], strict=True))
    candidate = (from_row[2] + reset * from_state[2]).tanh()
    return (1 - update) * candidate + update * hidden, hidden


@every_recurrent
@pytest.mark.parametrize("gate_bias", [0.0, 1.0])
def test_it_projects_the_rows_and_classifies_what_comes_after_the_last(name, gate_bias):
    model, batch = registry.models[name]((1, 28, 28), 10, gate_bias=gate_bias).double(), images(name).double()
    weight = dict(model.recurrent.named_parameters())
    state = (torch.zeros(3, UNITS[name], dtype=torch.float64),) * 2
    for row in range(28):
        projected = batch[:, 0, row] @ model.projection.weight.T
        state = (lstm_step if name.startswith("lstm") else gru_step)(projected, state, weight, gate_bias)
    torch.testing.assert_close(model(batch), model.classifier(state[0]))


def pruned_and_trained(name, device):
    """The model after scoring, masking and two masked steps of SGD; and its mask."""
    model, batch, labels = build(name), images(name).to(device), torch.tensor([1, 2, 3], device=device)
    initialise(model, "vs_x", torch.Generator().manual_seed(0))
    model.to(device, memory_format=torch.channels_last)
    mask = prune(model, (batch, labels), F.cross_entropy, sparsity=0.95)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    apply_mask(model, mask)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(batch), labels).backward()
        optimizer.step()
        apply_mask(model, mask)
    with torch.no_grad():
        model.eval()(batch)
    return model, mask


@every_recurrent
@pytest.mark.parametrize("device", DEVICES)
def test_pruning_and_training_it_warns_of_nothing(name, device):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as cuDNN's warning of weights that are not contiguous
        model, mask = pruned_and_trained(name, device)
    for key, parameter in prunable_parameters(model).items():
        assert not parameter[~mask[key].to(device)].any()
        assert parameter[mask[key].to(device)].all()


@every_recurrent
def test_the_fused_layer_gets_its_weights_in_one_piece_in_the_order_of_pytorchs_own(name):
    model = build(name)
    weights = model.weights()
    place = weights[0].data_ptr()
    for weight, own in zip(weights, model.recurrent._flat_weights, strict=True):
        assert weight.shape == own.shape
        assert weight.is_contiguous()
        assert weight.data_ptr() == place
        place += weight.numel() * weight.element_size()


@every_recurrent
def test_under_mixed_precision_the_layer_itself_stays_in_float32(name, monkeypatch):
    model, seen = build(name), []
    last_output = model.last_output
    monkeypatch.setattr(model, "last_output", lambda rows: seen.append(rows.dtype) or last_output(rows))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(images(name))
    assert (seen, outputs.dtype) == ([torch.float32], torch.bfloat16)


@every_recurrent
def test_the_constant_of_the_gates_is_no_parameter_and_is_not_saved(name):
    model = build(name)
    assert "gate_bias" not in dict(model.named_parameters())
    assert "gate_bias" not in model.state_dict()
    plain = registry.models[name]((1, 28, 28), 10, gate_bias=0.0)
    plain.load_state_dict(model.state_dict())
    assert not torch.allclose(plain(images(name)), model(images(name)))


@every_recurrent
def test_snip_keeps_some_of_every_weight_at_95_percent(name):
    _, mask = pruned_and_trained(name, "cpu")
    assert all(keep.any() for key, keep in mask.items() if "bias" not in key)


@every_recurrent
def test_all_gates_count_in_the_fan_out_of_a_weight(name):
    model = build(name)
    initialise(model, "vs_x", torch.Generator().manual_seed(0))
    for weight in (model.recurrent.weight_ih_l0, model.recurrent.weight_hh_l0):
        assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / ((1 + GATES[name]) * UNITS[name])), rel=0.02)
