"""Builds a configured network and gives it its weights: drawn, pretrained or trained."""

import torch
from torch import Tensor, nn

from snip_cli import registry
from snip_cli.config.schema import Config
from snip_cli.config.sections import Init
from snip_cli.errors import ConfigError
from snip_cli.models.initialisers import initialise
from snip_cli.models.pretrained import load_weights
from snip_cli.runtime.device import data_type
from snip_cli.runtime.streams import generator

State = dict[str, Tensor]


def build_model(config: Config) -> nn.Module:
    """Return the network with the weights that its layers start from by themselves. Raises ConfigError if it is no module."""
    name, shape = config.model.name, tuple(config.dataset.shape)
    model = registry.models[name](shape, config.dataset.classes, **config.model.options)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"model '{name}' must return a torch.nn.Module: got a value of type {type(model).__name__}. End its function with return."
        )
    return model


def weightless_model(config: Config) -> nn.Module:
    """Return the network on the meta device: layers and shapes without memory for weights."""
    with torch.device("meta"):
        return build_model(config)


def drawn_model(
    config: Config,
    seed: int,
    stream: str,
    init: Init,
    device: torch.device,
    dense: State | None = None,
    *,
    anew: bool = False,
) -> nn.Module:
    """Return the network on `device`. Its weights are made on the CPU, so that they are the same on every device.

    Args:
        config: the run.
        seed: the seed of the draw.
        stream: the name of the random stream that the weights are drawn from.
        init: the initialiser.
        device: where the network is put.
        dense: weights to use instead of drawn ones.
        anew: draw the weights even if `model.weights` names pretrained ones.
    """
    draws = generator(seed, stream)
    with torch.random.fork_rng(devices=[]):  # a network may draw parameters of its own from the global generator
        torch.manual_seed(draws.initial_seed())
        model = build_model(config)
        initialise(model, init.name, draws, **init.options)
    dtype = data_type(config.dtype)
    if dense is not None:
        model.to(dtype).load_state_dict(dense)  # in its own type, so that nothing is rounded
    elif config.model.weights and not anew:
        load_weights(model, config.model.name, config.model.weights)
    # PyTorch's type hints lack this combination of arguments.
    return model.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
