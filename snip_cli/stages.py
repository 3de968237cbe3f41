"""The stages of a run, one function each: what is checked before any work, data, network, mask and device."""

import functools
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from snip_cli import registry
from snip_cli.config import Config, Dataset, Init
from snip_cli.data.resident import Data, resident, saliency_batches
from snip_cli.errors import ConfigError
from snip_cli.models.initialisers import initialise
from snip_cli.pruning.mask import Mask, kept_count, prunable_parameters
from snip_cli.pruning.prune import prune
from snip_cli.streams import generator


def check(config: Config) -> int:
    """Check what needs the network but no data; gives m, the number of prunable parameters.

    Raises ConfigError for an unknown name or option, a network that does not fit the data set, and a sparsity that keeps nothing.
    """
    registry.datasets.check_options(config.dataset.name, {})
    registry.methods.check_options(config.method.name, config.method.options)
    registry.models.check_options(config.model.name, config.model.options)
    registry.initialisers.check_options(config.init.name, config.init.options)
    registry.initialisers.check_options(config.init_train.name, config.init_train.options)
    with torch.device("meta"):
        total = sum(p.numel() for p in prunable_parameters(build_model(config)).values())
    if total == 0:
        raise ConfigError(
            f"model '{config.model.name}' has no convolution, linear or recurrent layer to prune: choose another."
        )
    kept_count(total, config.sparsity)
    return total


def find_device(name: str) -> torch.device:
    """The device called auto, cpu or cuda; raises ConfigError where it is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda was asked for but PyTorch sees no CUDA device here: use device=cpu or device=auto."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def describe(device: torch.device) -> str:
    """The device in words, for `env.json`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({torch.get_num_threads()} threads)"


def load_data(dataset: Dataset, device: torch.device, dtype: torch.dtype, batch_size: int = 1) -> Data:
    """The data set, resident on `device`; the runs of a sweep share it.

    Raises ConfigError where it is not there, damaged, not what its YAML says, or smaller than one batch.
    """
    data = _load_data(dataset.name, dataset.root, dataset.split_seed, device, dtype)
    shape, classes = list(data.train.images.shape[1:]), int(data.train.labels.max()) + 1
    if shape != dataset.shape:
        raise ConfigError(
            f"dataset '{dataset.name}' has images of shape {shape} but its YAML says {dataset.shape}: correct `shape`."
        )
    if batch_size > len(data.train):
        raise ConfigError(
            f"schedule.batch_size={batch_size:,} is more than the {len(data.train):,} training images: lower it."
        )
    if classes > dataset.classes:
        raise ConfigError(
            f"dataset '{dataset.name}' has {classes} classes but its YAML says {dataset.classes}: correct `classes`."
        )
    return data


@functools.lru_cache(maxsize=1)
def _load_data(name: str, root: str, split_seed: int, device: torch.device, dtype: torch.dtype) -> Data:
    return resident(registry.datasets[name](Path(root)), split_seed=split_seed, device=device, dtype=dtype)


def build_model(config: Config) -> nn.Module:
    """The network, with whatever weights its layers start from."""
    shape = tuple(config.dataset.shape)
    return registry.models[config.model.name](shape, config.dataset.classes, **config.model.options)


def drawn_model(config: Config, seed: int, stream: str, init: Init, data: Data) -> nn.Module:
    """The network with weights drawn from `stream` on the CPU, then put where the data is."""
    draws = generator(seed, stream)
    with torch.random.fork_rng(devices=[]):  # a network may draw parameters of its own, from the global generator
        torch.manual_seed(draws.initial_seed())
        model = build_model(config)
        initialise(model, init.name, draws, **init.options)
    images = data.train.images
    return model.to(images.device, images.dtype, memory_format=torch.channels_last)


def find_mask(config: Config, seed: int, data: Data) -> tuple[Mask, float]:
    """The mask of one seed, on the CPU, and the seconds that it took; at sparsity 0 everything is kept.

    The scored weights come from a stream of their own and the trained ones are drawn anew, unless `method.redraw` is off.
    """
    stream = "scored weights" if config.method.redraw else "weights"
    model = drawn_model(config, seed, stream, config.init, data)
    if config.is_reference:
        return {name: torch.ones(p.shape, dtype=torch.bool) for name, p in prunable_parameters(model).items()}, 0.0
    batches = saliency_batches(data.train, config.method.batch_size, config.method.batches, seed)
    torch.manual_seed(
        generator(seed, "scoring").initial_seed()
    )  # for what a network draws in its forward pass, as dropout does
    started = time.perf_counter()
    mask = prune(
        model,
        batches,
        F.cross_entropy,
        method=config.method.name,
        sparsity=config.sparsity,
        generator=generator(seed, "method"),
        **config.method.options,
    )
    return {name: keep.cpu() for name, keep in mask.items()}, time.perf_counter() - started
