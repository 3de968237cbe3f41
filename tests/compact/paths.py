"""Plain references for the parameters on a path from input to output: gradients of positive networks, and a search."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask


def drawn_mask(model: nn.Module, inputs: float, *, seed: int = 0, kernels: bool = False) -> Mask:
    """A random mask that keeps about `inputs` weights (with `kernels`, whole kernels) per output, and half of the
    biases.
    """
    draws = torch.Generator().manual_seed(seed)
    mask = {}
    for name, parameter in prunable_parameters(model).items():
        shape = parameter.shape[:2] if kernels else parameter.shape
        chance = min(1.0, inputs / shape[1:].numel()) if parameter.dim() > 1 else 0.5
        keep = torch.rand(shape, generator=draws) < chance
        mask[name] = spread_out(keep, parameter)
    return mask


def spread_out(kept: Tensor, like: Tensor) -> Tensor:
    """A mask of kernels, O×I, as a mask of their weights."""
    return kept.reshape(*kept.shape, *[1] * (like.dim() - kept.dim())).expand_as(like).clone()


def by_gradients(model: nn.Module, mask: Mapping[str, Tensor], shape: tuple[int, ...]) -> Mask:
    """The parameters with a gradient in a network whose values are positive where the input reaches them, else zero.

    Its weights take the mean of what is kept, its biases are zero, its batch-norm does nothing and its input is ones. A
    kernel is looked at as a whole, as pooling passes a gradient on to some pixels alone.
    """
    model = copy.deepcopy(model).double().eval()
    written: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_parameters()
            layer.reset_running_stats()
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = mask[f"{name}.weight"].double()
            layer.weight.data = weight / weight.flatten(1).sum(dim=1).clamp(min=1).view(-1, *[1] * (weight.dim() - 1))
            if layer.bias is not None:
                layer.bias.data.zero_()
            layer.register_forward_hook(lambda _, __, output, name=name: written.update({name: output.detach()[0]}))
    model(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    found = {}
    for name, keep in mask.items():
        gradient = model.get_parameter(name).grad
        if keep.dim() == 1:
            # A bias passes its gradient on whether the input reaches its unit or not.
            reached = written[name.removesuffix(".bias")].reshape(len(keep), -1).amax(dim=1) > 0
            found[name] = keep & (gradient > 0) & reached
        else:
            found[name] = keep & spread_out((gradient > 0).reshape(*keep.shape[:2], -1).any(dim=2), keep)
    return found


def by_search(chain: nn.Sequential, mask: Mapping[str, Tensor]) -> Mask:
    """The same for a chain of layers, by following every kept weight between channels, forwards and then backwards."""
    layers = [(name, layer) for name, layer in chain.named_children() if isinstance(layer, nn.Conv2d | nn.Linear)]
    edges: list[
        list[tuple[tuple[int, ...], int, int]]
    ] = []  # of every layer: (place in the weight, channel read, channel written)
    channels = layers[0][1].in_channels
    for name, layer in layers:
        keep = mask[f"{name}.weight"]
        own = []
        for place in keep.nonzero().tolist():
            if isinstance(layer, nn.Conv2d):
                first = place[0] // (layer.out_channels // layer.groups) * (layer.in_channels // layer.groups)
                read = first + place[1]
            else:
                read = place[1] // (layer.in_features // channels)
            own.append((tuple(place), read, place[0]))
        edges.append(own)
        channels = len(keep)
    reached = [set(range(layers[0][1].in_channels))]
    for own in edges:
        reached.append({written for _, read, written in own if read in reached[-1]})
    leading = [set(range(channels))]
    for own in reversed(edges):
        leading.insert(0, {read for _, read, written in own if written in leading[0]})
    found = {name: torch.zeros_like(keep) for name, keep in mask.items()}
    for (name, _), own, before, after, ends in zip(layers, edges, reached, reached[1:], leading[1:], strict=False):
        for place, read, written in own:
            found[f"{name}.weight"][place] = read in before and written in ends
        for unit in after & ends:
            found[f"{name}.bias"][unit] = mask[f"{name}.bias"][unit]
    return found


def by_derivatives(model: nn.Module, mask: Mapping[str, Tensor]) -> Mask:
    """The same for a recurrent network: parameters that change an output, and read and write values that vary by image.

    Every gate is computed by itself, step by step, with positive weights, for three images of more rows than the layer
    has units.
    """
    parts = {
        name: keep.double().mul(0.3 + 0.2 * torch.rand(keep.shape, dtype=torch.float64)) for name, keep in mask.items()
    }
    for part in parts.values():
        part.requires_grad_()
    units, gates = model.recurrent.hidden_size, 4 if isinstance(model.recurrent, nn.LSTM) else 3
    images_NHW = torch.rand(3, units + 3, model.projection.in_features, dtype=torch.float64)
    rows_NHP = images_NHW @ parts["projection.weight"].T
    state_NU = cell_NU = torch.zeros(3, units, dtype=torch.float64)
    states = []
    for row_NP in rows_NHP.unbind(dim=1):
        of_row = (row_NP @ parts["recurrent.weight_ih_l0"].T + parts["recurrent.bias_ih_l0"]).chunk(gates, dim=1)
        of_state = (state_NU @ parts["recurrent.weight_hh_l0"].T + parts["recurrent.bias_hh_l0"]).chunk(gates, dim=1)
        if gates == 4:
            write, keep, new, show = (a + b for a, b in zip(of_row, of_state, strict=True))
            cell_NU = keep.sigmoid() * cell_NU + write.sigmoid() * new.tanh()
            state_NU = show.sigmoid() * cell_NU.tanh()
        else:
            reset, update = (a + b for a, b in zip(of_row[:2], of_state[:2], strict=True))
            new_NU = (of_row[2] + reset.sigmoid() * of_state[2]).tanh()
            state_NU = (1 - update.sigmoid()) * new_NU + update.sigmoid() * state_NU
        states.append(state_NU)
    outputs_NC = state_NU @ parts["classifier.weight"].T + parts["classifier.bias"]
    outputs_NC.sum().backward()
    varies_P, varies_U, varies_C = (
        (values[0] != values[1:]).any(dim=0) if values.dim() == 2 else (values[0] != values[1:]).any(dim=0).any(dim=0)
        for values in (rows_NHP, torch.stack(states, dim=1), outputs_NC)
    )
    reads = {"projection.weight": None, "recurrent.weight_ih_l0": varies_P, "recurrent.weight_hh_l0": varies_U}
    reads["classifier.weight"] = varies_U
    writes = {"projection": varies_P, "recurrent": varies_U.repeat(gates), "classifier": varies_C}
    found = {}
    for name, part in parts.items():
        written = writes[name.split(".")[0]]
        found[name] = mask[name] & (part.grad != 0) & (written[:, None] if part.dim() == 2 else written)
        if reads.get(name) is not None:
            found[name] &= reads[name]
    return found
