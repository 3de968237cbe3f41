"""Initialisers of weights (Section 5.5 and Table 3 of Lee et al. 2019); biases start at zero, as in the released code.

The paper names RN, TN, VS-X and VS-H and gives no standard deviations; the released code calls TensorFlow's initialisers, whose defaults
are taken here: standard deviation 1 for the first two, a truncated normal for variance scaling.
"""

import math

import torch
from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.models.prunable import PRUNABLE_LAYERS, prunable_parameters
from snip_cli.registry import initialisers

# Standard deviation of a unit normal that is truncated at ±2.
TRUNCATED_STD = 0.87962566103423978


def check_std(std: float) -> None:
    """Raise ConfigError unless the standard deviation is positive."""
    if not 0 < std < math.inf:
        raise ConfigError(f"init.std must be a positive number, not {std}.")


def fans(weight: Tensor) -> tuple[int, int]:
    """(fan in, fan out) of a weight whose first axis is the output: connections into and out of one unit.

    The gates of a recurrent layer lie in one weight, as in TensorFlow's LSTM, and all count in the fan out (4h for h units, in a GRU 3h).
    TensorFlow's LSTM has input and state in that one weight too; PyTorch has two, so that each has the fan in of its own.
    """
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def truncated_normal(weight: Tensor, generator: torch.Generator, std: float) -> None:
    """Fill `weight` from a normal of standard deviation `std` before its truncation at two of them."""
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)


def scale_variance(weight: Tensor, generator: torch.Generator, variance: float) -> None:
    """Fill `weight` from a truncated normal whose variance after truncation is `variance`."""
    truncated_normal(weight, generator, math.sqrt(variance) / TRUNCATED_STD)


@initialisers.register("rn")
def rn(weight: Tensor, generator: torch.Generator, *, std: float = 1.0) -> None:
    """Random normal of standard deviation `std` > 0."""
    check_std(std)
    weight.normal_(0.0, std, generator=generator)


@initialisers.register("tn")
def tn(weight: Tensor, generator: torch.Generator, *, std: float = 1.0) -> None:
    """Random normal of standard deviation `std` > 0, truncated at two of them."""
    check_std(std)
    truncated_normal(weight, generator, std)


@initialisers.register("vs_x")
def vs_x(weight: Tensor, generator: torch.Generator) -> None:
    """Variance 2 / (fan in + fan out), after Glorot and Bengio (2010)."""
    scale_variance(weight, generator, 2.0 / sum(fans(weight)))


@initialisers.register("vs_h")
def vs_h(weight: Tensor, generator: torch.Generator) -> None:
    """Variance 2 / fan in, after He et al. (2015)."""
    scale_variance(weight, generator, 2.0 / fans(weight)[0])


@initialisers.register("vs_lecun")
def vs_lecun(weight: Tensor, generator: torch.Generator) -> None:
    """Variance 1 / fan in: TensorFlow's variance scaling as the released code calls it."""
    scale_variance(weight, generator, 1.0 / fans(weight)[0])


@torch.no_grad()
def initialise(model: nn.Module, name: str, generator: torch.Generator, **options: float) -> None:
    """Draw all weights of `model` anew with the initialiser `name`, in the model's own order; biases become zero.

    The model must be on the CPU, so that a seed gives the same weights whatever device trains them. Layers that are never pruned
    (batch-norm) go back to their own start.
    """
    draw = initialisers[name]
    with torch.random.fork_rng(devices=[]):  # such layers draw, if they draw, from the global generator
        torch.manual_seed(generator.initial_seed())
        for module in model.modules():
            if not isinstance(module, PRUNABLE_LAYERS) and hasattr(module, "reset_parameters"):
                module.reset_parameters()
    for parameter in prunable_parameters(model).values():
        if parameter.dim() > 1:
            draw(parameter, generator, **options)
        else:
            parameter.zero_()
