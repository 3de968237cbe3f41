"""What pruning must leave alone, and the comparison of tensors by name."""

import copy

import torch


def equal(first, second):
    """Whether two dictionaries hold the same names in the same order, and the same bits."""
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def state_of(model):
    """A copy of a model's parameters, buffers and gradients, and every module's mode and every parameter's `requires_grad`."""
    tensors = {**model.state_dict(), **{f"{name}.grad": p.grad for name, p in model.named_parameters()}}
    flags = [module.training for module in model.modules()] + [p.requires_grad for p in model.parameters()]
    return copy.deepcopy(tensors), flags


def disturb(model):
    """Give a model mixed modes and gradients, so that a change of either is seen."""
    for number, module in enumerate(model.modules()):
        module.training = number % 2 == 1
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
