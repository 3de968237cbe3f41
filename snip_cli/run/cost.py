"""What a seed's result cost, with its reference and its rounds: see `runfolder.cost.Cost`."""

from collections.abc import Sequence

from snip_cli.config.schema import Config
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import FixedMask, Pruner
from snip_cli.run.ancestors import ancestors, own_iterations
from snip_cli.runfolder.cost import Cost
from snip_cli.runfolder.results import SeedResult, read_metrics


def cost_of(config: Config, result: SeedResult, pruner: Pruner, prunings: int) -> Cost:
    """Return the cost of a seed whose training ended.

    Args:
        result: what the run itself measured.
        pruner: the one that it was trained with.
        prunings: how many times its method removed parameters before the training.
    """
    reference, rounds = ancestors(config)[:1], ancestors(config)[1:]
    from_outside = bool(config.model.weights)
    own, first, last = own_iterations(config), 0, 0
    if config.is_reference:
        prunings = 0
    elif isinstance(pruner, FixedMask):
        prunings += len(rounds)
    else:
        first, last, prunings = pruner.span(config.schedule)
    own_seconds = result.train_seconds or 0.0
    per_iteration = own_seconds / max(own, 1)
    return Cost(
        iterations_before=None if from_outside else sum(map(own_iterations, reference)) + first,
        iterations_during=sum(map(own_iterations, rounds)) + last - first,
        iterations_after=own - last,
        prunings=prunings,
        hyperparameters=[] if config.is_reference else find_method(config.method.name).hyperparameters,
        seconds_before=None if from_outside else _sum(reference, result.seed, "train_seconds", first * per_iteration),
        seconds_pruning=_sum(rounds, result.seed, "prune_seconds", result.prune_seconds or 0.0),
        seconds_during=_sum(rounds, result.seed, "train_seconds", (last - first) * per_iteration),
        seconds_after=round(own_seconds - last * per_iteration, 3),
    )


def _sum(runs: Sequence[Config], seed: int, field: str, own: float) -> float | None:
    """Return the seconds in a field of the seed's results of these runs, and this run's `own`; None where one is not recorded."""
    total = own
    for run in runs:
        metrics = read_metrics(run.folder)
        found = [getattr(result, field) for result in (metrics.seeds if metrics else ()) if result.seed == seed]
        if not found or found[0] is None:
            return None
        total += found[0]
    return round(total, 3)
