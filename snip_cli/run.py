"""The pipeline of one run: config → data → model → mask → training → evaluation → record."""

import functools
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from snip_cli import config as configuration
from snip_cli import record, registry
from snip_cli.config import Config, Dataset, Init
from snip_cli.data.resident import Data, resident, saliency_batches
from snip_cli.errors import ConfigError, RunError
from snip_cli.events import RunEvents
from snip_cli.models.initialisers import initialise
from snip_cli.pruning.mask import Mask, kept_count, layer_counts, prunable_parameters
from snip_cli.pruning.prune import prune
from snip_cli.streams import generator
from snip_cli.training import checkpoint
from snip_cli.training.evaluation import evaluate
from snip_cli.training.trainer import Trainer

log = logging.getLogger("snip_cli")


def run(config: Config) -> dict[str, Any]:
    """Do one run, or what is missing of it, and give the content of its `metrics.json`."""
    total = check(config)
    with record.RunFolder.open(config) as folder:
        if record.is_finished(config):
            return reuse(folder)
        device = find_device(config.device)
        data = load_data(config.dataset, device, getattr(torch, config.dtype))
        saved = checkpoint.load(folder.path)
        folder.begin(describe(device))
        rates = {}
        with RunEvents(folder, sorted(saved.results)) as events:
            for seed in config.all_seeds:
                if seed not in saved.results:
                    rates[seed] = run_seed(config, seed, data, folder, saved, events)
            metrics = folder.finish(saved.results, total, rates)
            events.finish(metrics)
    log.info("test error %s  →  %s", told(metrics), folder.path)
    return metrics


def run_seed(config: Config, seed: int, data: Data, folder: record.RunFolder, saved: checkpoint.Saved, events: RunEvents) -> float:
    """Prune and train one seed, from its checkpoint if there is one, into `saved` and the folder; gives images per second."""
    device, dtype = data.train.images.device, data.train.images.dtype
    resumed = saved.training if saved.training is not None and saved.training["seed"] == seed else None
    if resumed is None:
        saved.masks[seed], prune_seconds = find_mask(config, seed, data)
        checkpoint.save_masks(folder.path, saved)
    else:
        saved.masks[seed], prune_seconds = resumed["mask"], resumed["prune_seconds"]
    mask = saved.masks[seed]
    layers = layer_counts(mask)
    for layer in layers:
        if layer["kept"] == 0:
            log.warning("seed %d: nothing of layer %s was kept", seed, layer["name"])
    model = drawn_model(config, seed, "weights", config.init_train).to(device, dtype, memory_format=torch.channels_last)
    trainer = Trainer(model, mask, data, config.schedule, seed)
    if resumed is not None:
        resume(trainer, resumed["state"], folder.path)
    folder.restore_evaluations(sorted(saved.results), seed, trainer.progress.evaluations)
    events.begin_seed(seed, layers, trainer.progress.evaluations)

    def evaluated(row: dict[str, float]) -> None:
        folder.add_evaluation(seed, row)
        events.evaluation(seed, row)
        log.debug(
            "seed %d iteration %d loss %.4f validation error %.2f %% test error %.2f %%",
            *(seed, row["iteration"], row["train_loss"], row["val_error"], row["test_error"]),
        )

    def keep(state: dict[str, Any]) -> None:
        saved.training = {"seed": seed, "mask": mask, "prune_seconds": prune_seconds, "state": state}
        checkpoint.save(folder.path, saved)

    trainer.train(evaluated=evaluated, checkpoint=keep, bar=sys.stderr.isatty())
    progress = trainer.progress
    saved.results[seed] = record.result_of(
        seed, progress.evaluations, layers, train_seconds=progress.seconds, prune_seconds=prune_seconds
    )
    saved.weights[seed] = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    saved.training = None
    checkpoint.save(folder.path, saved)
    return progress.iteration * config.schedule.batch_size / progress.seconds


def check(config: Config) -> int:
    """Check what needs the model but no data; gives m, the number of prunable parameters. Raises ConfigError."""
    registry.methods.check_options(config.method.name, config.method.options)
    registry.initialisers.check_options(config.init.name, config.init.options)
    registry.initialisers.check_options(config.init_train.name, config.init_train.options)
    registry.datasets[config.dataset.name]
    with torch.device("meta"):
        total = sum(p.numel() for p in prunable_parameters(build_model(config)).values())
    if total == 0:
        raise ConfigError(f"model '{config.model.name}' has no convolution, linear or recurrent layer to prune: choose another.")
    kept_count(total, config.sparsity)
    return total


def build_model(config: Config) -> nn.Module:
    """The network, with whatever weights its layers start from."""
    registry.models.check_options(config.model.name, config.model.options)
    shape = tuple(config.dataset.shape)
    return registry.models[config.model.name](shape, config.dataset.classes, **config.model.options)


def drawn_model(config: Config, seed: int, stream: str, init: Init) -> nn.Module:
    """The network on the CPU with weights drawn from `stream`."""
    model = build_model(config)
    initialise(model, init.name, generator(seed, stream), **init.options)
    return model


def find_mask(config: Config, seed: int, data: Data) -> tuple[Mask, float]:
    """The mask of one seed, on the CPU, and the seconds that it took; at sparsity 0 everything is kept.

    The scored weights come from a stream of their own and the trained ones are drawn again, unless `method.redraw` is off.
    """
    images = data.train.images
    stream = "scored weights" if config.method.redraw else "weights"
    model = drawn_model(config, seed, stream, config.init).to(images.device, images.dtype, memory_format=torch.channels_last)
    if config.is_reference:
        return {name: torch.ones(p.shape, dtype=torch.bool) for name, p in prunable_parameters(model).items()}, 0.0
    batches = saliency_batches(data.train, config.method.batch_size, config.method.batches, seed)
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
    mask = {name: keep.cpu() for name, keep in mask.items()}
    return mask, time.perf_counter() - started


@functools.cache
def _load_data(name: str, root: str, split_seed: int, device: torch.device, dtype: torch.dtype) -> Data:
    return resident(registry.datasets[name](Path(root)), split_seed=split_seed, device=device, dtype=dtype)


def load_data(dataset: Dataset, device: torch.device, dtype: torch.dtype) -> Data:
    """The data set, resident on `device`; the runs of a sweep share it. Raises ConfigError where its shape is not what its YAML says."""
    data = _load_data(dataset.name, dataset.root, dataset.split_seed, device, dtype)
    found = list(data.train.images.shape[1:])
    if found != list(dataset.shape):
        raise ConfigError(f"dataset '{dataset.name}' has images of shape {found} but its YAML says {dataset.shape}: correct its `shape`.")
    if int(data.train.labels.max()) >= dataset.classes:
        raise ConfigError(
            f"dataset '{dataset.name}' has {int(data.train.labels.max()) + 1} classes but its YAML says {dataset.classes}: correct its `classes`."
        )
    return data


def find_device(name: str) -> torch.device:
    """The device called auto, cpu or cuda; raises ConfigError where it is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda was asked for but PyTorch sees no CUDA device here: use device=cpu or device=auto.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def describe(device: torch.device) -> str:
    """The device in words, for `env.json`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({torch.get_num_threads()} threads)"


def resume(trainer: Trainer, state: dict[str, Any], folder: Path) -> None:
    """Set the trainer to a checkpoint's state; raises ConfigError where it belongs to another network."""
    try:
        trainer.load(state)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(f"{folder / 'checkpoint.pt'} does not fit this network: delete the folder to start over.") from error
    log.info("goes on from iteration %d", trainer.progress.iteration)


def reuse(folder: record.RunFolder) -> dict[str, Any]:
    """The metrics of a finished run, with one line that says so, and by which commit where that was another one."""
    metrics = record.read_metrics(folder.path)
    assert metrics is not None
    before = (record.read_json(folder.path / "env.json") or {}).get("commit")
    now = record.git_state()[0]
    note = f", by commit {before[:9]} (now {now[:9]})" if before and now and before != now else ""
    log.info("finished already%s: test error %s  →  %s", note, told(metrics), folder.path)
    return metrics


def told(metrics: dict[str, Any]) -> str:
    """Mean ± standard deviation of the test error, in words."""
    n = len(metrics["seeds"])
    spread = f" ± {metrics['test_error_std']:.2f} (n = {n})" if n > 1 else ""
    return f"{metrics['test_error_mean']:.2f} %{spread}"
