"""Compaction and effective sparsity of the recurrent networks, whose units read each other from row to row.

Shapes: G gates (the third is the candidate: only it can move a unit away from zero), U units, P projected features, C
classes.
"""

import copy

import torch
from torch import Tensor, nn

from snip_cli.compact.layers import Size, State
from snip_cli.models.recurrent import CANDIDATE, RowByRow, spread
from snip_cli.pruning.mask import Mask
from snip_cli.training.stacked.rows import Rows

RESET = 0  # the reset gate of a GRU


def kept_parts(model: RowByRow) -> tuple[Tensor, Tensor]:
    """Return (kept_P, kept_U): the projected features and the units that an output depends on, at least one of each.

    A unit starts at zero. It stays there if its candidate has no bias and reads zeros only.
    """
    nonzero = {name: parameter.detach() != 0 for name, parameter in model.named_parameters()}
    _, kept_P, kept_U = Rows(model).alive(nonzero)
    for kept in (kept_P, kept_U):
        kept[0] |= ~kept.any()
    return kept_P, kept_U


def shrink(model: RowByRow) -> tuple[dict[str, Size], State]:
    """Return the sizes of the three layers (empty if nothing is removed) and the state of the smaller network."""
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


def resize(model: RowByRow, sizes: dict[str, Size]) -> RowByRow:
    """Return a network like `model` with layers of these sizes, with weights that are not set."""
    new = copy.deepcopy(model)
    inputs, units = sizes["recurrent"]["inputs"], sizes["recurrent"]["outputs"]
    dtype = model.projection.weight.dtype
    new.projection = nn.Linear(model.projection.in_features, inputs, bias=False, dtype=dtype)
    new.recurrent = type(model.recurrent)(inputs, units, batch_first=True, dtype=dtype)
    new.classifier = nn.Linear(units, model.classifier.out_features, dtype=dtype)
    # Every unit of a gate has the same constant.
    new.gate_bias = model.gate_bias.view(-1, model.recurrent.hidden_size)[:, :units].flatten()
    return new


def on_paths(model: RowByRow, mask: Mask) -> Mask:
    """Return the kept parameters that lie on a path from an input to an output, gate by gate.

    A unit is reached from the input if it can move away from zero and one of its gates (the candidate is one) has a
    kept weight for a feature or unit that is reached. A gate's kept weight counts if it reads a reached feature or unit
    and the gate's own unit is reached and leads to an output. A gate's bias counts if its unit is reached and leads to
    an output. A GRU's reset gate counts only if it has something to reset: a kept bias or state weight of the
    candidate. The number of rows in an image is ignored.
    """
    units = model.recurrent.hidden_size
    keep = {name: mask.get(name, torch.ones(p.shape, dtype=torch.bool)) for name, p in model.named_parameters()}
    input_GUP, state_GUU, input_bias_GU, state_bias_GU = (
        keep[f"recurrent.{name}_l0"].view(-1, units, *keep[f"recurrent.{name}_l0"].shape[1:])
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    reached_P = keep["projection.weight"].any(dim=1)
    moved_U = input_bias_GU[CANDIDATE] | state_bias_GU[CANDIDATE] | (input_GUP[CANDIDATE] & reached_P).any(dim=1)
    moved_U = spread(moved_U, state_GUU[CANDIDATE])
    works_GU = moved_U.expand(len(input_GUP), -1).clone()
    if isinstance(model.recurrent, nn.GRU):
        works_GU[RESET] &= state_bias_GU[CANDIDATE] | (state_GUU[CANDIDATE] & moved_U).any(dim=1)
    input_GUP, state_GUU = input_GUP & works_GU[:, :, None], state_GUU & works_GU[:, :, None]
    reached_U = (input_GUP & reached_P).any(dim=(0, 2))
    reached_U = spread(reached_U, state_GUU.any(dim=0))
    path_U = keep["classifier.weight"].any(dim=0) & reached_U
    path_U = spread(path_U, (state_GUU & reached_U).any(dim=0).T)
    input_GUP, state_GUU = input_GUP & path_U[:, None] & reached_P, state_GUU & path_U[:, None] & reached_U
    classifier_CU = keep["classifier.weight"] & reached_U
    found = {
        "projection.weight": keep["projection.weight"] & input_GUP.any(dim=(0, 1))[:, None],
        "recurrent.weight_ih_l0": input_GUP.flatten(0, 1),
        "recurrent.weight_hh_l0": state_GUU.flatten(0, 1),
        "recurrent.bias_ih_l0": (input_bias_GU & works_GU & path_U).flatten(),
        "recurrent.bias_hh_l0": (state_bias_GU & works_GU & path_U).flatten(),
        "classifier.weight": classifier_CU,
        "classifier.bias": keep["classifier.bias"] & classifier_CU.any(dim=1),
    }
    return {name: found[name] for name in mask}
