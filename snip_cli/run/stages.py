"""The stages of a run before its training, one function each: network, weights and mask."""

import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.config.fingerprint import digest
from snip_cli.config.schema import Config
from snip_cli.data.sample import class_balanced_sample
from snip_cli.data.splits import Batch, Data, Split, saliency_batches
from snip_cli.models.building import State, drawn_model
from snip_cli.models.pretrained import hash_of
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning import prune
from snip_cli.pruning.method import Pruned, Request, find_method
from snip_cli.runfolder.steps import FORMAT, Steps
from snip_cli.runtime.streams import generator


def scored_model(config: Config, seed: int, device: torch.device, dense: State | None) -> nn.Module:
    """The network whose connections are scored: the trained one, or one whose weights come from a stream of their own.

    Without `method.redraw` the drawn weights are those that are trained afterwards.
    """
    stream = "scored weights" if config.method.redraw else "weights"
    init = config.init_train if config.method.trained else config.init
    return drawn_model(config, seed, stream, init, device, dense)


def started_model(config: Config, seed: int, device: torch.device, dense: State | None) -> nn.Module:
    """The network that training starts from: the trained one that was pruned, or one that is drawn anew."""
    anew = config.method.redraw and not config.is_reference
    # The trained network itself started from the stream of all others: to start there again would not be anew.
    stream = "redrawn weights" if anew and config.method.trained else "weights"
    return drawn_model(config, seed, stream, config.init_train, device, None if anew else dense, anew=anew)


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
    pruned = prune.find_mask(
        model,
        batches,
        F.cross_entropy,
        find_method(config.method.name),
        Request(config.sparsity, generator(seed, "method"), steps),
        config.method.options,
        config.method.sanity,
    )
    seconds = time.perf_counter() - started + steps.seconds_read
    return replace(pruned, mask={name: keep.cpu() for name, keep in pruned.mask.items()}), seconds


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
    others = [other for other in sorted(Path(config.output_dir).glob(f"*/steps/{name}")) if other != own]
    return Steps(own, others, of=f"seed {seed}, " if config.seeds > 1 else "")
