"""What is checked before any work, beyond the configuration itself: what needs the network, the processes or the data."""

from contextlib import suppress

import torch
from torch import nn

from snip_cli import registry
from snip_cli.config.schema import Config
from snip_cli.data.sample import require_of_each_class
from snip_cli.data.splits import Split, require_images
from snip_cli.errors import ConfigError
from snip_cli.models.building import build_model, weightless_model
from snip_cli.models.pretrained import check_origin
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.ablation import check_ablation
from snip_cli.pruning.method import Gives, Method, find_method
from snip_cli.pruning.prune import check_request
from snip_cli.run.ancestors import earlier_rounds, rewind_iteration
from snip_cli.runtime.processes import ProcessGroup, check_divisible
from snip_cli.training.choice import check_pruner

# Parameters up to which a network is built to see whether it takes the images.
SMALL = 2**21
# The networks and data sets that `check_images` has found to fit.
_fitting: set[str] = set()


def check(config: Config) -> int:
    """Check a run without loading data or drawing weights; return m, the number of prunable parameters.

    Raises:
        ConfigError: an unknown name or option, a network that does not fit the data set, a sparsity that keeps nothing, a method that does
            not fit the network or the other settings.
    """
    registry.datasets.check_options(config.dataset.name, config.dataset.options)
    method = find_method(config.method.name)
    options = method.read_options(config.method.options)
    registry.models.check_options(config.model.name, config.model.options)
    registry.initialisers.check_options(config.init.name, config.init.options)
    registry.initialisers.check_options(config.init_train.name, config.init_train.options)
    model = weightless_model(config)
    check_request(method, model, config.sparsity)
    check_images(model, config)
    check_sizes(model, config)
    if not config.is_reference:
        check_start(config, method)
        if config.method.ablation != "none":
            check_ablation(config.method.ablation, method)
        check_pruner(config, method)
        if method.check_schedule is not None:
            method.check_schedule(config.schedule, options)
        if method.check is not None:
            method.check(model, torch.empty(1, *config.dataset.shape, device="meta"), options)
        check_weights(config)
        check_rewind(config)
    return sum(p.numel() for p in prunable_parameters(model).values())


def check_weights(config: Config) -> None:
    """Check the weights that `pretrained` names against the method.

    Raises:
        ConfigError: a method that prunes a trained network is given those of another network or data set; or nothing would start from
            them, because the method redraws weights or rewinds to those of the reference.
    """
    weights, method = config.model.weights, config.method
    if weights and find_method(method.name).rounds:
        raise ConfigError(
            f"pretrained={weights} gives a trained network, but method '{method.name}' rewinds to early weights of its own reference: leave it out."
        )
    if method.trained:
        check_origin(weights, config.model.name, config.dataset.name)
    elif weights and method.redraw:
        raise ConfigError(
            f"pretrained={weights} gives the weights to start from, but method '{method.name}' with method.redraw=true draws others after pruning: set method.redraw=false."
        )


def check_start(config: Config, method: Method) -> None:
    """Raise ConfigError if `method.trained` or `method.redraw` asks for what the method cannot do."""
    if method.rounds and not config.method.trained:
        raise ConfigError(
            f"method '{method.name}' prunes a trained network, but method.trained is false: leave it at true."
        )
    if method.gives is Gives.PRUNER and config.method.redraw:
        raise ConfigError(
            f"method.redraw=true draws weights after pruning, but method '{method.name}' prunes while it trains: set method.redraw=false."
        )


def check_rewind(config: Config) -> None:
    """Raise ConfigError if a round would restart from an iteration that the reference or the schedule does not reach."""
    iteration = max((rewind_iteration(each) or 0) for each in [*earlier_rounds(config), config])
    for key, schedule in (("dense_schedule", config.reference.schedule), ("schedule", config.schedule)):
        if iteration and iteration >= schedule.iterations:
            where = key if config.dense_schedule else "schedule"
            raise ConfigError(
                f"method.rewind={iteration:,} is not before the last iteration, {schedule.iterations:,}: choose a smaller one, or more {where}.iterations."
            )


def check_images(model: nn.Module, config: Config) -> None:
    """Raise ConfigError if the network does not take the data set's images, or gives no output for some of its classes.

    It runs on two images: on the CPU if it is small, because the first use of the meta device takes seconds, and also if its forward pass
    looks at numbers, which the meta device does not have.
    """
    name, dataset = config.model.name, config.dataset
    asked = repr((name, config.model.options, dataset.shape, dataset.classes))
    if asked in _fitting:
        return
    size = "×".join(map(str, dataset.shape))
    try:
        outputs = outputs_for_zeros(model, config)
    except Exception as error:  # a user's forward pass may raise anything
        raise ConfigError(
            f"model '{name}' cannot take the images of dataset '{dataset.name}', which are {size} (channels, height, width): {' '.join(str(error).split())}. Choose a data set that fits it, or build the model for the shape that it is given."
        ) from error
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] != 2 or shape[1] < dataset.classes:
        raise ConfigError(
            f"model '{name}' must give a score for each of the {dataset.classes} classes of dataset '{dataset.name}', (2, {dataset.classes}) for two images: got {shape}. Build the model for the number of classes that it is given."
        )
    _fitting.add(asked)


@torch.no_grad()
def outputs_for_zeros(model: nn.Module, config: Config) -> object:
    """Return what the network, which lies on the meta device, gives for two images of zeros; numbers only if it is small."""
    if sum(p.numel() for p in model.parameters()) > SMALL:
        with suppress(Exception):
            return model.eval()(torch.empty(2, *config.dataset.shape, device="meta"))
    with torch.random.fork_rng(devices=[]):
        return build_model(config).eval()(torch.zeros(2, *config.dataset.shape))


def check_sizes(model: nn.Module, config: Config) -> None:
    """Raise ConfigError if `dataset.sizes` names an image size that the network, which lies on the meta device, cannot take."""
    for size in config.dataset.sizes:
        try:
            model.eval()(torch.empty(1, config.dataset.shape[0], size, size, device="meta"))
        except RuntimeError as error:
            raise ConfigError(
                f"model '{config.model.name}' cannot take images of {size}×{size}: leave dataset.sizes out, or choose a model that averages over the image."
            ) from error


def check_group(config: Config, device: torch.device, group: ProcessGroup) -> None:
    """Raise ConfigError if the processes that train together cannot share the batch, or leave batch-norm one image each."""
    check_divisible(config.schedule.batch_size, group.size)
    if config.sync_batchnorm and (group.size == 1 or device.type != "cuda"):
        raise ConfigError("sync_batchnorm=true works on several GPUs under torchrun only: leave it out here.")
    normalised = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in weightless_model(config).modules())
    if normalised and config.schedule.batch_size // group.size == 1:
        raise ConfigError(
            f"model '{config.model.name}' has batch-norm, which needs more than one image per batch and process: raise schedule.batch_size above {group.size}."
        )


def check_scoring(config: Config, train: Split) -> None:
    """Raise ConfigError if the method is to score with more training images, or more of a class, than there are."""
    method = config.method
    if method.samples_per_class:
        require_of_each_class(train.labels, method.samples_per_class, config.dataset.classes)
    else:
        require_images(train, method.batch_size, method.batches, method.classes)
