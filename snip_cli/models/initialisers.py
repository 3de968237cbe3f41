"""Initialisers of weights (Section 5.5 and Table 3 of Lee et al. 2019). Biases start at zero, as in the released code.

The paper names RN, TN, VS-X and VS-H but gives no standard deviations. The released code calls TensorFlow's
initialisers, so their defaults are used here: standard deviation 1 for RN and TN, and a truncated normal for variance
scaling.
"""

import math

import torch
from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.models.prunable import PRUNABLE_LAYERS, prunable_parameters
from snip_cli.registry import initialisers

# Standard deviation of a standard normal truncated at ±2.
TRUNCATED_STD = 0.87962566103423978


def check_std(std: float) -> None:
    """Raise ConfigError unless the standard deviation is positive and finite."""
    if not 0 < std < math.inf:
        raise ConfigError(f"init.std must be positive and finite: got {std}. The default is 1.")


def fans(weight: Tensor) -> tuple[int, int]:
    """Return (fan in, fan out): the connections into and out of one unit, for a weight whose first axis is the output.

    The gates of a recurrent layer share one weight, as in TensorFlow's LSTM, so the fan out counts them all (4h for h
    units, 3h in a GRU). TensorFlow's LSTM has input and state in that one weight too; PyTorch has two weights, each
    with a fan in of its own.
    """
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def truncated_normal(weight: Tensor, generator: torch.Generator, std: float) -> None:
    """Fill `weight` from a normal of standard deviation `std` that is then truncated at ±2 `std`."""
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)


def scale_variance(weight: Tensor, generator: torch.Generator, variance: float) -> None:
    """Fill `weight` from a truncated normal whose variance after truncation is `variance`."""
    truncated_normal(weight, generator, math.sqrt(variance) / TRUNCATED_STD)


@initialisers.register("rn")
def rn(weight: Tensor, generator: torch.Generator, *, std: float = 1.0) -> None:
    """Fill `weight` from a normal of standard deviation `std` > 0."""
    check_std(std)
    weight.normal_(0.0, std, generator=generator)


@initialisers.register("tn")
def tn(weight: Tensor, generator: torch.Generator, *, std: float = 1.0) -> None:
    """Fill `weight` from a normal of standard deviation `std` > 0, truncated at ±2 `std`."""
    check_std(std)
    truncated_normal(weight, generator, std)


@initialisers.register("vs_x")
def vs_x(weight: Tensor, generator: torch.Generator) -> None:
    """Fill `weight` with variance 2 / (fan in + fan out), after Glorot and Bengio (2010)."""
    scale_variance(weight, generator, 2.0 / sum(fans(weight)))


@initialisers.register("vs_h")
def vs_h(weight: Tensor, generator: torch.Generator) -> None:
    """Fill `weight` with variance 2 / fan in, after He et al. (2015)."""
    scale_variance(weight, generator, 2.0 / fans(weight)[0])


@initialisers.register("vs_lecun")
def vs_lecun(weight: Tensor, generator: torch.Generator) -> None:
    """Fill `weight` with variance 1 / fan in: TensorFlow's variance scaling as the released code calls it."""
    scale_variance(weight, generator, 1.0 / fans(weight)[0])


@torch.no_grad()
def initialise(model: nn.Module, name: str, generator: torch.Generator, **options: float) -> None:
    """Draw all weights of `model` with the initialiser `name`, in the order of the parameters, and set all biases to
    zero.

    The model must be on the CPU, so that a seed gives the same weights whichever device trains them. Layers that are
    never pruned (such as batch-norm) are reset by their own method.
    """
    draw = initialisers[name]
    with torch.random.fork_rng(devices=[]):  # the reset of a layer may draw from the global generator
        torch.manual_seed(generator.initial_seed())
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset) and not isinstance(module, PRUNABLE_LAYERS):
                reset()
    for parameter in prunable_parameters(model).values():
        if parameter.dim() > 1:
            draw(parameter, generator, **options)
        else:
            parameter.zero_()
