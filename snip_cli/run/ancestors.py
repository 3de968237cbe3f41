"""The runs that a run needs first: the trained reference that a method prunes, and its own earlier rounds."""

from dataclasses import replace

from snip_cli.config.schema import Config
from snip_cli.config.sections import Schedule
from snip_cli.errors import ConfigError
from snip_cli.models.building import State, weightless_model
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.method import find_method
from snip_cli.runfolder import checkpoint, record


def ancestors(config: Config) -> list[Config]:
    """Return the runs that must be finished before this one, oldest first; none for a method that starts from drawn or given weights."""
    if not config.needs_reference:
        return []
    return [config.reference, *earlier_rounds(config)]


def earlier_rounds(config: Config) -> list[Config]:
    """Return the rounds before the last of a method that prunes in rounds, each a run of the same method at its own sparsity.

    An ablation or redrawn weights concern the last round alone.
    """
    method = find_method(config.method.name)
    if method.rounds is None or config.is_reference:
        return []
    options = method.read_options(config.method.options)
    sparsities = method.rounds(weightless_model(config), float(config.sparsity), options)
    plain = replace(config.method, ablation="none", redraw=method.redraw)
    return [replace(config, method=plain, sparsity=sparsity) for sparsity in sparsities]


def rewind_iteration(config: Config) -> int | None:
    """Return the iteration of the reference whose weights training restarts from; None if it goes on from those that were pruned."""
    if config.is_reference or config.method.redraw:
        return None
    method = find_method(config.method.name)
    return None if method.rewind is None else method.rewind(method.read_options(config.method.options))


def own_iterations(config: Config) -> int:
    """Return how many iterations a run trains: those of its schedule after the one that it rewinds to."""
    return config.schedule.iterations - (rewind_iteration(config) or 0)


def training_schedule(config: Config) -> Schedule:
    """Return the schedule of the run's training: the configured one, at the learning rate at which the method trains weights on."""
    if config.is_reference or config.method.redraw:
        return config.schedule
    method = find_method(config.method.name)
    if method.retrain_rate is None:
        return config.schedule
    factor = method.retrain_rate(method.read_options(config.method.options))
    return replace(config.schedule, learning_rate=config.schedule.learning_rate * factor)


def parent_weights(config: Config, seed: int) -> State | None:
    """Return the trained weights that a method prunes, on the CPU; None if it prunes drawn or given ones.

    Raises:
        ConfigError: the run that trained them has them no longer.
    """
    before = ancestors(config)
    if not before:
        return None
    parent = record.read_run(before[-1].folder)
    parent.require(seed, parent.weights, "checkpoint.pt")
    return parent.weights[seed]


def previous_mask(config: Config, seed: int) -> Mask | None:
    """Return the mask of the round before; None if there is none.

    Raises:
        ConfigError: that round's folder has it no longer.
    """
    before = earlier_rounds(config)
    if not before:
        return None
    folder = before[-1].folder
    masks = checkpoint.load_masks(folder)
    if seed not in masks:
        raise ConfigError(
            f"{folder / 'mask.pt'} has no mask of seed {seed}: delete that folder, and the same command makes it again."
        )
    return masks[seed]


def early_weights(config: Config, seed: int, iteration: int) -> State:
    """Return the weights of the reference after an early `iteration`, on the CPU."""
    return checkpoint.load_early(config.reference.folder, iteration)[seed]


def without_early_weights(reference: Config, iteration: int) -> list[int]:
    """Return the seeds of a finished reference whose weights after an early `iteration` are not kept."""
    kept = checkpoint.load_early(reference.folder, iteration)
    return [seed for seed in reference.all_seeds if seed not in kept]
