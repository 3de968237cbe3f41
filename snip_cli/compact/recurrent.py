"""A recurrent network without the units that are zero at every step or that nothing reads.

Shapes: G gates (the third is the candidate, which alone can move a unit from zero), U units, P projected features, C classes.
"""

import copy

from torch import Tensor, nn

from snip_cli.compact.layers import Size, State
from snip_cli.models.recurrent import RowByRow

CANDIDATE = 2


def kept_parts(model: RowByRow) -> tuple[Tensor, Tensor]:
    """(kept_P, kept_U): the projected features and the units on which an output depends; at least one of each.

    A unit starts at zero, and stays there while the candidate's bias is zero and the candidate reads zeros.
    """
    layer, units = model.recurrent, model.recurrent.hidden_size
    input_GUP = layer.weight_ih_l0.detach().view(-1, units, layer.input_size) != 0
    state_GUU = layer.weight_hh_l0.detach().view(-1, units, units) != 0
    biases = (layer.bias_ih_l0, layer.bias_hh_l0)
    biased_U = sum((bias.detach().view(-1, units)[CANDIDATE] != 0) for bias in biases).bool()
    moved_P = (model.projection.weight.detach() != 0).any(dim=1)
    moved_U = biased_U | (input_GUP[CANDIDATE] & moved_P).any(dim=1)
    for _ in range(units):  # the longest way from unit to unit
        moved_U = moved_U | (state_GUU[CANDIDATE] & moved_U).any(dim=1)
    kept_U = (model.classifier.weight.detach() != 0).any(dim=0) & moved_U
    read_UU = state_GUU.any(dim=0)
    for _ in range(units):
        kept_U = (kept_U | read_UU[kept_U].any(dim=0)) & moved_U
    kept_P = input_GUP.any(dim=0)[kept_U].any(dim=0) & moved_P
    for kept in (kept_P, kept_U):
        kept[0] |= ~kept.any()
    return kept_P, kept_U


def shrunk(model: RowByRow) -> tuple[dict[str, Size], State]:
    """The sizes of the three layers, none where nothing goes, and the state of the smaller network."""
    kept_P, kept_U = kept_parts(model)
    if kept_P.all() and kept_U.all():
        return {}, model.state_dict()
    units = model.recurrent.hidden_size
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    state["projection.weight"] = state["projection.weight"][kept_P]
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        whole = state[f"recurrent.{name}"]
        rows = whole.view(-1, units, *whole.shape[1:])[:, kept_U].flatten(0, 1)
        columns = {"weight_ih_l0": kept_P, "weight_hh_l0": kept_U}.get(name)
        state[f"recurrent.{name}"] = rows if columns is None else rows[:, columns]
    state["classifier.weight"] = state["classifier.weight"][:, kept_U]
    projected, left = int(kept_P.sum()), int(kept_U.sum())
    sizes: dict[str, Size] = {
        "projection": {"inputs": model.projection.in_features, "outputs": projected, "bias": False},
        "recurrent": {"inputs": projected, "outputs": left, "bias": True},
        "classifier": {"inputs": left, "outputs": model.classifier.out_features, "bias": True},
    }
    return sizes, state


def shaped(model: RowByRow, sizes: dict[str, Size]) -> RowByRow:
    """A network like `model` with layers of these sizes, their weights not set."""
    new = copy.deepcopy(model)
    inputs, units = sizes["recurrent"]["inputs"], sizes["recurrent"]["outputs"]
    dtype = model.projection.weight.dtype
    new.projection = nn.Linear(model.projection.in_features, inputs, bias=False, dtype=dtype)
    new.recurrent = type(model.recurrent)(inputs, units, batch_first=True, dtype=dtype)
    new.classifier = nn.Linear(units, model.classifier.out_features, dtype=dtype)
    # The same constant for every unit of a gate.
    new.gate_bias = model.gate_bias.view(-1, model.recurrent.hidden_size)[:, :units].flatten()
    return new
