"""The stages of a run, one function each: what is checked before any work, device, network and mask."""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli import registry
from snip_cli.config import Config, digest
from snip_cli.data.sample import class_balanced_sample, require_of_each_class
from snip_cli.data.splits import Batch, Data, Split, require_images, saliency_batches
from snip_cli.errors import ConfigError
from snip_cli.gpus import one_gpu
from snip_cli.group import Group, check_share
from snip_cli.models.initialisers import initialise
from snip_cli.models.pretrained import check_origin, hash_of, load_weights
from snip_cli.pruning.mask import prunable_parameters
from snip_cli.pruning.protocol import Pruned, chooses
from snip_cli.pruning.prune import check_request, prune_in_steps
from snip_cli.pruning.sanity import check_sanity
from snip_cli.pruning.steps import FORMAT, Steps
from snip_cli.sections import Init
from snip_cli.streams import generator

State = dict[str, Tensor]


def check(config: Config) -> int:
    """Check what needs the network but no data; gives m, the number of prunable parameters.

    Raises ConfigError for an unknown name or option, a network that does not fit the data set, and a sparsity that keeps nothing.
    """
    registry.datasets.check_options(config.dataset.name, config.dataset.options)
    registry.methods.check_options(config.method.name, config.method.options)
    registry.models.check_options(config.model.name, config.model.options)
    registry.initialisers.check_options(config.init.name, config.init.options)
    registry.initialisers.check_options(config.init_train.name, config.init_train.options)
    model = weightless_model(config)
    total = sum(p.numel() for p in prunable_parameters(model).values())
    check_request(config.method.name, total, config.sparsity)
    check_sizes(model, config)
    if not config.is_reference:
        check_sanity(config.method.sanity, config.method.name, scores=not chooses(registry.methods[config.method.name]))
    check_early = getattr(registry.methods[config.method.name], "check", None)
    if check_early is not None and not config.is_reference:
        check_early(model, torch.empty(1, *config.dataset.shape, device="meta"), **config.method.options)
    if config.method.trained and not config.is_reference:
        check_origin(config.model.weights, config.model.name, config.dataset.name)
    return total


def check_sizes(model: nn.Module, config: Config) -> None:
    """Raise ConfigError where the network, which lies on the meta device, takes images of one size and `dataset.sizes` names others."""
    for size in config.dataset.sizes:
        try:
            model.eval()(torch.empty(1, config.dataset.shape[0], size, size, device="meta"))
        except RuntimeError as error:
            raise ConfigError(
                f"model '{config.model.name}' cannot take images of {size}×{size}: leave dataset.sizes out, or choose a model that averages over the image."
            ) from error


def check_group(config: Config, device: torch.device, group: Group) -> None:
    """Raise ConfigError where the batch or the network's batch-norm does not fit the processes that train it together."""
    check_share(config.schedule.batch_size, group.size)
    if config.sync_batchnorm and (group.size == 1 or device.type != "cuda"):
        raise ConfigError("sync_batchnorm=true is for several GPUs under torchrun: leave it out here.")
    normalised = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in weightless_model(config).modules())
    if normalised and config.schedule.batch_size // group.size == 1:
        raise ConfigError(
            f"model '{config.model.name}' normalises over the batch, of which one image is no statistic: raise schedule.batch_size above {group.size}."
        )


def find_device(name: str) -> torch.device:
    """The device called auto, cpu or cuda; raises ConfigError where it is not there.

    Of the processes that torchrun starts on a machine each has a GPU of its own.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda was asked for but PyTorch sees no CUDA device here: use device=cpu or device=auto."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= count:
        raise ConfigError(
            f"torchrun started more processes than the {count} GPUs of this machine: lower --nproc_per_node."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def own_device(name: str) -> Iterator[torch.device]:
    """The device called auto, cpu or cuda, as `find_device`; of several GPUs one that no other run of this user has, if there is one."""
    device = find_device(name)
    if device.type == "cpu" or "LOCAL_RANK" in os.environ:
        yield device
        return
    with one_gpu() as number:
        torch.cuda.set_device(number)
        yield torch.device("cuda", number)


def describe(device: torch.device) -> str:
    """The device in words, for `env.json`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({torch.get_num_threads()} threads)"


def set_up(config: Config, device: torch.device) -> None:
    """Set PyTorch's global switches: how float32 is multiplied on a GPU, and whether an operation may differ from run to run.

    The cost of `deterministic` is that cuDNN's algorithms are not tried for speed, and that an operation without a deterministic
    algorithm is an error.
    """
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.deterministic = config.deterministic
    torch.backends.cudnn.benchmark = not config.deterministic
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; costs 25 MB
        torch.set_float32_matmul_precision("high")  # TF32


def data_type(config: Config) -> torch.dtype:
    """What weights and images are stored in; bfloat16 is for the arithmetic alone."""
    return torch.float64 if config.dtype == "float64" else torch.float32


def build_model(config: Config) -> nn.Module:
    """The network, with whatever weights its layers start from."""
    shape = tuple(config.dataset.shape)
    return registry.models[config.model.name](shape, config.dataset.classes, **config.model.options)


def weightless_model(config: Config) -> nn.Module:
    """The network on the meta device: its layers and shapes, without memory for weights."""
    with torch.device("meta"):
        return build_model(config)


def drawn_model(
    config: Config, seed: int, stream: str, init: Init, device: torch.device, dense: State | None = None
) -> nn.Module:
    """The network with the weights `dense`; without them with those that `model.weights` names or, without it, drawn from `stream`.

    It is made on the CPU, then put on `device`.
    """
    draws = generator(seed, stream)
    with torch.random.fork_rng(devices=[]):  # a network may draw parameters of its own, from the global generator
        torch.manual_seed(draws.initial_seed())
        model = build_model(config)
        initialise(model, init.name, draws, **init.options)
    if dense is not None:
        model.load_state_dict(dense)
    elif config.model.weights:
        load_weights(model, config.model.name, config.model.weights)
    return model.to(device, data_type(config), memory_format=torch.channels_last)


def scored_model(config: Config, seed: int, device: torch.device, dense: State | None) -> nn.Module:
    """The network whose connections are scored: the trained one, or one whose weights come from a stream of their own.

    Without `method.redraw` the drawn weights are those that are trained afterwards.
    """
    stream = "scored weights" if config.method.redraw else "weights"
    init = config.init_train if config.method.trained else config.init
    return drawn_model(config, seed, stream, init, device, dense)


def started_model(config: Config, seed: int, device: torch.device, dense: State | None) -> nn.Module:
    """The network that training starts from: the trained one that was pruned, or one that is drawn anew."""
    inherits = config.method.trained and not config.method.redraw
    return drawn_model(config, seed, "weights", config.init_train, device, dense if inherits else None)


def find_mask(config: Config, seed: int, data: Data, dense: State | None = None) -> tuple[Pruned, float]:
    """The mask of one seed, on the CPU, and the seconds that it cost; at sparsity 0 everything is kept.

    The seconds are of all that the mask was found by, without the training of the dense network: also those of steps that an earlier
    attempt or another run did and that are read here. `dense` is the trained network that a method with `trained` prunes, unless `model.weights` names it.
    """
    model = scored_model(config, seed, data.train.device, dense)
    if config.is_reference:
        ones = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in prunable_parameters(model).items()}
        return Pruned(ones), 0.0
    torch.manual_seed(
        generator(seed, "scoring").initial_seed()
    )  # for what a network draws in its forward pass, as dropout does
    batches = scoring_batches(config, seed, data.scored)
    steps = steps_of(config, seed, dense)
    started = time.perf_counter()
    pruned = prune_in_steps(
        model,
        batches,
        F.cross_entropy,
        config.method.name,
        config.sparsity,
        generator(seed, "method"),
        steps,
        config.method.sanity,
        **config.method.options,
    )
    seconds = time.perf_counter() - started + steps.seconds_read
    return replace(pruned, mask={name: keep.cpu() for name, keep in pruned.mask.items()}), seconds


def check_scoring(config: Config, train: Split) -> None:
    """Raise ConfigError where a method is to score with more training images, or more of a class, than there are."""
    method = config.method
    if method.samples_per_class:
        require_of_each_class(train.labels, method.samples_per_class, config.dataset.classes)
    else:
        require_images(train, method.batch_size, method.batches, method.classes)


def scoring_batches(config: Config, seed: int, train: Split) -> Collection[Batch]:
    """What a method scores with: random training images, or as many of every class; not augmented."""
    method = config.method
    if method.samples_per_class:
        return class_balanced_sample(train, method.samples_per_class, method.batch_size, config.dataset.classes, seed)
    return saliency_batches(train, method.batch_size, method.batches, seed, method.classes)


def steps_of(config: Config, seed: int, dense: State | None) -> Steps:
    """The steps of a seed's pruning, in the run's folder and in those of runs that differ in the sparsity or the retraining alone."""
    method = config.identity()["method"]
    method.pop("sanity", None)
    if config.method.trained:  # the weights that are scored are the trained ones
        method.pop("redraw")
    of_steps = {
        "format": FORMAT,
        "network": config.dense.identity(),
        "method": method,
        "init": None if config.method.trained else asdict(config.init),
    }
    of_steps["weights"] = None if dense is None else hash_of(dense)  # the same settings give others on another device
    name = f"seed{seed}-{digest(of_steps)}"
    own = config.folder / "steps" / name
    return Steps(own, [other for other in sorted(Path(config.output_dir).glob(f"*/steps/{name}")) if other != own])
