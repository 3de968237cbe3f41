"""One seed: from its mask to the training that begins, and from the training that ended to its result."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from snip_cli.compact.collapse import collapsed_layers, describe_collapse
from snip_cli.compact.paths import Paths
from snip_cli.config.schema import Config
from snip_cli.data.splits import Data
from snip_cli.errors import ConfigError
from snip_cli.models.building import State, drawn_model
from snip_cli.pruning import prune
from snip_cli.pruning.mask import layer_counts, sparse_megabytes, weight_counts
from snip_cli.pruning.method import Gives, Pruned, find_method
from snip_cli.pruning.pruner import FixedMask, Plan, Pruner
from snip_cli.run.ancestors import early_weights, parent_weights, rewind_iteration
from snip_cli.run.messages import log_resumed
from snip_cli.run.scoring import find_mask
from snip_cli.runfolder.checkpoint import SavedSeed
from snip_cli.runfolder.recorder import NoRecorder, PrunedSeed, Recorder
from snip_cli.runfolder.results import SeedResult
from snip_cli.runtime.processes import ProcessGroup
from snip_cli.runtime.streams import generator
from snip_cli.training.choice import Replicate, training_of
from snip_cli.training.evaluation import has_learned, warn_of_guessing
from snip_cli.training.loop import Progress, Training

log = logging.getLogger("snip_cli")


@dataclass(frozen=True)
class PreparedSeed:
    """A replicate that is ready to train: its mask and the method's findings, and the seconds spent on pruning.

    `effective` is, per layer, how many kept parameters lie on a path from input to output; None if torch.fx cannot follow the network.
    """

    replicate: Replicate
    pruned: Pruned
    prune_seconds: float
    effective: dict[str, int] | None

    @property
    def effective_kept(self) -> int | None:
        """How many of the kept parameters lie on a path from input to output."""
        return None if self.effective is None else sum(self.effective.values())

    @property
    def collapsed(self) -> list[str]:
        """The layers that no path passes."""
        return collapsed_layers(self.pruned.mask, self.effective)

    def checkpoint(self, state: dict[str, Any]) -> SavedSeed:
        """Return what a checkpoint holds of the seed: the `state` of its training, and the mask for `prepare`."""
        findings = {"layers": self.pruned.layers, "facts": self.pruned.facts}
        pruning = {"mask": self.pruned.mask, "told": findings, "prune_seconds": self.prune_seconds}
        return {"seed": self.replicate.seed, **pruning, "state": state}

    def warn_if_collapsed(self, *, trained: bool = False) -> None:
        """Warn if the mask cuts off layers or the whole network; `trained`: the network is trained already."""
        remedy = "lower sparsity or choose another method or init"
        if not trained:
            remedy = f"it is trained all the same: stop it, and {remedy}"
        if problem := describe_collapse(self.pruned.mask, self.collapsed, self.effective, remedy=remedy):
            log.warning("seed %d: %s", self.replicate.seed, problem)

    @property
    def mask_is_fixed(self) -> bool:
        """Whether training cannot change the mask."""
        return isinstance(self.replicate.pruner, FixedMask)


def prepare(
    config: Config, seed: int, data: Data, group: ProcessGroup, paths: Paths, resumed: SavedSeed | None
) -> PreparedSeed:
    """Prune one seed and make the network that is trained. A checkpoint, `resumed`, has the mask already.

    The first process finds the mask for all.
    """
    trained = group.broadcast(parent_weights(config, seed) if group.is_first else None)
    model = model_to_train(config, seed, data.train.device, trained, group)
    state = resumed["state"] if resumed else None
    if not config.is_reference and find_method(config.method.name).gives is Gives.PRUNER:
        pruner = make_pruner(config, seed, model, group)
        # Mask and paths are final when training ends: see `record_results`.
        replicate = Replicate(seed, model, pruner, state)
        return PreparedSeed(replicate, Pruned(pruner.mask), prune_seconds=0.0, effective=None)
    if resumed:
        pruned, seconds = Pruned(resumed["mask"], **resumed.get("told", {})), resumed["prune_seconds"]
    else:
        found = find_mask(config, seed, data, trained) if group.is_first else (Pruned({}), 0.0)
        pruned, seconds = group.broadcast(found)
    replicate = Replicate(seed, model, FixedMask(model, pruned.mask), state)
    effective = paths.counts(pruned.mask) if group.is_first else None
    return PreparedSeed(replicate, pruned, prune_seconds=seconds, effective=effective)


def model_to_train(
    config: Config, seed: int, device: torch.device, trained: State | None, group: ProcessGroup
) -> nn.Module:
    """Return the network that training starts from: the one that was pruned, or rewound to an early iteration, or drawn again."""
    redrawn = config.method.redraw and not config.is_reference
    early = rewind_iteration(config)
    if early is not None:
        # At iteration 0 the reference had its drawn weights, which can be drawn again.
        trained = group.broadcast(early_weights(config, seed, early) if group.is_first else None) if early > 0 else None
    # The reference started from the stream "weights", so redrawn weights need a different one.
    stream = "redrawn weights" if redrawn and config.method.trained else "weights"
    return drawn_model(config, seed, stream, config.init_train, device, None if redrawn else trained, anew=redrawn)


def make_pruner(config: Config, seed: int, model: nn.Module, group: ProcessGroup) -> Pruner:
    """Return the pruner that changes the mask of `model` while it trains."""
    method = find_method(config.method.name)
    kept = prune.check_request(method, model, config.sparsity)
    plan = Plan(kept, config.schedule, generator(seed, "method"), group)
    pruner: Pruner = method.function(model, plan, method.read_options(config.method.options))
    return pruner


def open_training(config: Config, starts: Sequence[PreparedSeed], data: Data, group: ProcessGroup) -> Training:
    """Return the training of these seeds, at its first iteration or where their checkpoints left off.

    Raises:
        ConfigError: a checkpoint belongs to another network.
    """
    for start in starts if group.is_first else ():
        start.warn_if_collapsed()
    training = training_of(config, [start.replicate for start in starts], data, group)
    states = [start.replicate.state for start in starts if start.replicate.state is not None]
    if not states:
        training.begin_at(rewind_iteration(config) or 0)
        return training
    try:
        training.load(states)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(
            f"{config.folder / 'checkpoint.pt'} does not fit this network: delete the folder to start over."
        ) from error
    if group.is_first:
        log_resumed(training.iteration, training.engine, {state.get("engine") for state in states})
    return training


def pruned_seeds(starts: Mapping[int, PreparedSeed]) -> dict[int, PrunedSeed]:
    """Return what the recorder keeps of the masks that training does not change."""
    return {
        seed: PrunedSeed(
            start.pruned.mask, layer_counts(start.pruned.mask), {"layers": start.pruned.layers, **start.pruned.facts}
        )
        for seed, start in starts.items()
        if start.mask_is_fixed
    }


def record_results(
    config: Config,
    starts: Mapping[int, PreparedSeed],
    training: Training,
    data: Data,
    group: ProcessGroup,
    paths: Paths,
    recorder: Recorder | NoRecorder,
) -> None:
    """Record the results of seeds whose training ended, except those that diverged, with the final mask of each."""
    weights = dict(zip(starts, training.weights(), strict=True))
    masks = dict(zip(starts, training.masks(), strict=True))
    results = []
    for (seed, start), progress in zip(starts.items(), training.progress, strict=True):
        if seed in training.failed or not group.is_first:
            continue
        if not start.mask_is_fixed:
            final = replace(start.pruned, mask=masks[seed])
            start = replace(start, pruned=final, effective=paths.counts(masks[seed]))
            start.warn_if_collapsed(trained=True)
        train_loss = progress.evaluations[-1].train_loss
        learned = has_learned(train_loss, config.schedule, data.train.labels)
        results.append(seed_result(start, progress, weights[seed], learned))
        if learned is False and not config.dataset.random_labels and results[-1].effective_kept != 0:
            warn_of_guessing(seed, train_loss, data.train.labels)
    if results:
        images = (config.schedule.iterations - (rewind_iteration(config) or 0)) * config.schedule.batch_size
        recorder.finish_seeds(results, weights, masks, images)


def seed_result(start: PreparedSeed, progress: Progress, weights: State, learned: bool | None) -> SeedResult:
    """Return a seed's entry of `metrics.json`."""
    mask = start.pruned.mask
    return SeedResult.of_training(
        start.replicate.seed,
        progress.evaluations,
        layer_counts(mask),
        train_seconds=progress.seconds,
        prune_seconds=start.prune_seconds,
        learned=learned,
        **weight_counts(mask),
        sparse_megabytes=round(sparse_megabytes(weights, mask), 3),
        effective_kept=start.effective_kept,
        collapsed=start.collapsed,
    )
