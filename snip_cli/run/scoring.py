"""The mask of one seed before training: the network that is scored, the images it is scored with, and the steps that are kept."""

import logging
import time
from collections.abc import Iterable
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
from snip_cli.models.prunable import out_of_reach, prunable_parameters
from snip_cli.pruning import prune
from snip_cli.pruning.method import Gives, Pruned, Request, find_method
from snip_cli.run.ancestors import previous_mask
from snip_cli.runfolder.steps import FORMAT, NO_STEPS, Steps
from snip_cli.runtime.streams import generator

log = logging.getLogger("snip_cli")


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
    if seed == config.seed and (limit := out_of_reach(model)):
        log.warning("%s", limit)
    # The forward pass may draw from the global generator, as dropout does.
    torch.manual_seed(generator(seed, "scoring").initial_seed())
    method, loss = find_method(config.method.name), F.cross_entropy
    steps = pruning_steps(config, seed, trained) if method.gives is Gives.MASK else NO_STEPS
    request = Request(config.sparsity, generator(seed, "method"), steps, previous_mask(config, seed))
    batches = scoring_batches(config, seed, data.scored)
    started = time.perf_counter()
    pruned = prune.run_method(model, batches, loss, method, request, config.method.options, config.method.ablation)
    seconds = time.perf_counter() - started + steps.seconds_read
    mask, weights = ({name: t.cpu() for name, t in each.items()} for each in (pruned.mask, pruned.weights))
    return replace(pruned, mask=mask, weights=weights), seconds


def scoring_batches(config: Config, seed: int, train: Split) -> Iterable[Batch]:
    """Return the training images that a method scores with, not augmented: random ones, or equally many of every class."""
    method = config.method
    if method.samples_per_class:
        return class_balanced_sample(train, method.samples_per_class, method.batch_size, config.dataset.classes, seed)
    return saliency_batches(train, method.batch_size, method.batches, seed, method.classes)


def pruning_steps(config: Config, seed: int, trained: State | None) -> Steps:
    """Return where the steps of a seed's pruning are kept: in the run's folder, or in that of a run which shares them.

    Runs share steps if they differ in nothing but sparsity, retraining and options that no step depends on.
    """
    options = find_method(config.method.name).without_late_options(config.method.options)
    method = replace(config, method=replace(config.method, options=options)).identity()["method"]
    method.pop("sanity", None)
    if config.method.trained:  # the weights that are scored are the trained ones
        method.pop("redraw")
    of_steps = {
        "format": FORMAT,
        "network": config.reference.identity(),
        "method": method,
        "init": None if config.method.trained else asdict(config.init),
        # The same settings give other weights on another device.
        "weights": None if trained is None else hash_of(trained),
    }
    name = f"seed{seed}-{digest(of_steps)}"
    own = config.folder / "steps" / name
    others = [other for other in sorted(Path(config.output_dir).glob(f"*/steps/{name}")) if other != own]
    return Steps(own, others, of=f"seed {seed}, " if config.seeds > 1 else "")


def scored_model(config: Config, seed: int, device: torch.device, trained: State | None) -> nn.Module:
    """Return the network whose connections are scored: with `trained` weights, or with drawn ones.

    With `method.redraw` the drawn weights come from a stream of their own; otherwise they are the ones that are trained afterwards.
    """
    stream = "scored weights" if config.method.redraw else "weights"
    init = config.init_train if config.method.trained else config.init
    return drawn_model(config, seed, stream, init, device, trained)
