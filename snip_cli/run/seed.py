"""One seed before its training: the network that is scored, the mask, and the network that training starts from."""

import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.compact.paths import Paths
from snip_cli.config.fingerprint import digest
from snip_cli.config.schema import Config
from snip_cli.data.sample import class_balanced_sample
from snip_cli.data.splits import Batch, Data, Split, saliency_batches
from snip_cli.models.building import State, drawn_model
from snip_cli.models.pretrained import hash_of
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning import prune
from snip_cli.pruning.mask import Mask, layer_counts
from snip_cli.pruning.method import FixedMask, Gives, Plan, Pruned, Pruner, Request, find_method
from snip_cli.run.ancestors import early_weights, parent_weights, previous_mask, rewind_iteration
from snip_cli.runfolder.steps import FORMAT, Steps
from snip_cli.runtime.processes import ProcessGroup
from snip_cli.runtime.streams import generator
from snip_cli.training.choice import Replicate


@dataclass(frozen=True)
class Start:
    """A replicate with what its method reported, the seconds that its mask cost, and its kept parameters on a path, per layer.

    `effective` is None if torch.fx cannot follow the network, so that its paths from input to output are not known.
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
        """The layers that no path passes; if the paths are not known, the layers that keep nothing."""
        if self.effective is None:
            return [str(layer["name"]) for layer in layer_counts(self.pruned.mask) if layer["kept"] == 0]
        return [name for name, count in self.effective.items() if count == 0]

    @property
    def kept(self) -> dict[str, Any]:
        """What a checkpoint holds of the pruning; `prepare` reads it."""
        told = {"layers": self.pruned.layers, "facts": self.pruned.facts}
        return {"mask": self.pruned.mask, "told": told, "prune_seconds": self.prune_seconds}


def prepare(
    config: Config, seed: int, data: Data, group: ProcessGroup, paths: Paths, resumed: dict[str, Any] | None
) -> Start:
    """Prune one seed and make the network that is trained; a checkpoint, `resumed`, has the mask already.

    The first process finds the mask for all.
    """
    pruner: Pruner | None = None
    trained = group.broadcast(parent_weights(config, seed) if group.is_first else None)
    model = started_model(config, seed, data.train.device, trained)
    if not config.is_reference and find_method(config.method.name).gives is Gives.PRUNER:
        pruner = make_pruner(config, seed, model, group)
        pruned, seconds = Pruned({name: keep.cpu() for name, keep in pruner.mask.items()}), 0.0
    elif resumed:
        pruned, seconds = Pruned(resumed["mask"], **resumed.get("told", {})), resumed["prune_seconds"]
    else:
        found = find_mask(config, seed, data, trained) if group.is_first else (Pruned({}), 0.0)
        pruned, seconds = group.broadcast(found)
    if pruner is None:
        pruner = FixedMask(model, pruned.mask)
    replicate = Replicate(seed, model, pruner, resumed["state"] if resumed else None)
    return Start(replicate, pruned, seconds, paths.counts(pruned.mask) if group.is_first else None)


def make_pruner(config: Config, seed: int, model: nn.Module, group: ProcessGroup) -> Pruner:
    """Return what changes the mask of `model` while it trains."""
    method = find_method(config.method.name)
    kept = prune.check_request(method, model, config.sparsity)
    plan = Plan(kept, config.schedule, generator(seed, "method"), group)
    return method.function(model, plan, method.read_options(config.method.options))


def with_final_mask(start: Start, mask: Mask, paths: Paths) -> Start:
    """Return `start` with the mask that training ended with; `start` itself if its mask was fixed."""
    if isinstance(start.replicate.pruner, FixedMask):
        return start
    return replace(start, pruned=replace(start.pruned, mask=mask), effective=paths.counts(mask))


def scored_model(config: Config, seed: int, device: torch.device, trained: State | None) -> nn.Module:
    """Return the network whose connections are scored: with `trained` weights, or with drawn ones.

    With `method.redraw` the drawn weights come from a stream of their own; otherwise they are the ones that are trained afterwards.
    """
    stream = "scored weights" if config.method.redraw else "weights"
    init = config.init_train if config.method.trained else config.init
    return drawn_model(config, seed, stream, init, device, trained)


def started_model(config: Config, seed: int, device: torch.device, trained: State | None) -> nn.Module:
    """Return the network that training starts from: the one that was pruned, rewound to an early iteration, or drawn anew."""
    redrawn = config.method.redraw and not config.is_reference
    early = rewind_iteration(config)
    if early is not None:
        trained = early_weights(config, seed, early) if early else None
    # The reference started from the stream "weights": redrawn weights must be others.
    stream = "redrawn weights" if redrawn and config.method.trained else "weights"
    return drawn_model(config, seed, stream, config.init_train, device, None if redrawn else trained, anew=redrawn)


def find_mask(config: Config, seed: int, data: Data, trained: State | None = None) -> tuple[Pruned, float]:
    """Return the mask of one seed, on the CPU, and the seconds that it cost; at sparsity 0 everything is kept.

    The seconds include steps that an earlier attempt or another run did, but not the training of an ancestor. `trained` are the weights
    that the method prunes, unless it starts from drawn ones or `model.weights` names them.
    """
    model = scored_model(config, seed, data.train.device, trained)
    if config.is_reference:
        return Pruned(
            {name: torch.ones(p.shape, dtype=torch.bool) for name, p in prunable_parameters(model).items()}
        ), 0.0
    # The forward pass may draw from the global generator, as dropout does.
    torch.manual_seed(generator(seed, "scoring").initial_seed())
    steps = pruning_steps(config, seed, trained)
    request = Request(config.sparsity, generator(seed, "method"), steps, previous_mask(config, seed))
    batches = scoring_batches(config, seed, data.scored)
    method, loss = find_method(config.method.name), F.cross_entropy
    started = time.perf_counter()
    pruned = prune.find_mask(model, batches, loss, method, request, config.method.options, config.method.ablation)
    seconds = time.perf_counter() - started + steps.seconds_read
    return replace(pruned, mask={name: keep.cpu() for name, keep in pruned.mask.items()}), seconds


def scoring_batches(config: Config, seed: int, train: Split) -> Collection[Batch]:
    """Return the training images that a method scores with, not augmented: random ones, or equally many of every class."""
    method = config.method
    if method.samples_per_class:
        return class_balanced_sample(train, method.samples_per_class, method.batch_size, config.dataset.classes, seed)
    return saliency_batches(train, method.batch_size, method.batches, seed, method.classes)


def pruning_steps(config: Config, seed: int, trained: State | None) -> Steps:
    """Return where the steps of a seed's pruning are kept: in the run's folder, or in that of a run which shares them.

    Runs share steps if they differ in nothing but sparsity and retraining.
    """
    method = config.identity()["method"]
    method.pop("sanity", None)
    if config.method.trained:  # the weights that are scored are the trained ones
        method.pop("redraw")
    of_steps = {
        "format": FORMAT,
        "network": config.dense.identity(),
        "method": method,
        "init": None if config.method.trained else asdict(config.init),
        # The same settings give other weights on another device.
        "weights": None if trained is None else hash_of(trained),
    }
    name = f"seed{seed}-{digest(of_steps)}"
    own = config.folder / "steps" / name
    others = [other for other in sorted(Path(config.output_dir).glob(f"*/steps/{name}")) if other != own]
    return Steps(own, others, of=f"seed {seed}, " if config.seeds > 1 else "")
