"""A configured network: built, and given its weights."""

import torch
from torch import Tensor, nn

from snip_cli import registry
from snip_cli.config.schema import Config
from snip_cli.config.sections import Init
from snip_cli.models.initialisers import initialise
from snip_cli.models.pretrained import load_weights
from snip_cli.runtime.device import data_type
from snip_cli.runtime.streams import generator

State = dict[str, Tensor]


def build_model(config: Config) -> nn.Module:
    """The network, with whatever weights its layers start from."""
    shape = tuple(config.dataset.shape)
    return registry.models[config.model.name](shape, config.dataset.classes, **config.model.options)


def weightless_model(config: Config) -> nn.Module:
    """The network on the meta device: its layers and shapes, without memory for weights."""
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
    """The network with the weights `dense`; without them with those that `model.weights` names or, without it or `anew`, drawn from `stream`.

    It is made on the CPU, then put on `device`.
    """
    draws = generator(seed, stream)
    with torch.random.fork_rng(devices=[]):  # a network may draw parameters of its own, from the global generator
        torch.manual_seed(draws.initial_seed())
        model = build_model(config)
        initialise(model, init.name, draws, **init.options)
    if dense is not None:
        model.load_state_dict(dense)
    elif config.model.weights and not anew:
        load_weights(model, config.model.name, config.model.weights)
    return model.to(device, data_type(config.dtype), memory_format=torch.channels_last)
