"""A configured data set → its three splits, resident on the device or streamed from files."""

import functools
import json
from dataclasses import asdict
from pathlib import Path

import torch

from snip_cli import registry
from snip_cli.config.sections import Dataset
from snip_cli.data.augmentation import resident_augmentation
from snip_cli.data.cache import require_readable
from snip_cli.data.resident import Raw, normalisation, resident
from snip_cli.data.splits import Data
from snip_cli.data.streamed import Files, streamed
from snip_cli.errors import ConfigError


def load_data(dataset: Dataset, device: torch.device, dtype: torch.dtype, batch_size: int = 1) -> Data:
    """Return the data set for `device`. Runs of a sweep in the same process share it.

    Raises ConfigError if it is missing or damaged, has another shape or number of classes than configured, or is
    smaller than one batch.
    """
    data = _load_data(json.dumps(asdict(dataset)), device, dtype)
    if batch_size > len(data.train):
        raise ConfigError(
            f"schedule.batch_size={batch_size:,} is larger than the number of training images, {len(data.train):,}: lower it."
        )
    return data


@functools.lru_cache(maxsize=1)
def _load_data(described: str, device: torch.device, dtype: torch.dtype) -> Data:
    """`load_data` for a data set described in JSON, which a cache can use as a key."""
    dataset = Dataset(**json.loads(described))
    found = registry.datasets[dataset.name](Path(dataset.root), **dataset.options)
    classes = int(found.train_labels.max()) + 1
    if classes != dataset.classes:
        raise ConfigError(
            f"dataset '{dataset.name}' has {classes} classes, but dataset.classes is {dataset.classes}: set dataset.classes={classes}."
        )
    if isinstance(found, Raw):
        data = _resident(found, dataset, device, dtype)
    else:
        data = _streamed(found, dataset, device, dtype)
    return data.with_random_labels(dataset.split_seed) if dataset.random_labels else data


def _resident(raw: Raw, dataset: Dataset, device: torch.device, dtype: torch.dtype) -> Data:
    shape = list(raw.train_images.shape[1:])
    if shape != dataset.shape:
        raise ConfigError(
            f"dataset '{dataset.name}' has images of shape {shape}, but dataset.shape is {dataset.shape}: set dataset.shape={shape}."
        )
    if dataset.augmentation == "crop_flip" or dataset.sizes:
        raise ConfigError(
            f"dataset '{dataset.name}' is held in memory at one size: use dataset.augmentation=flip_translate and leave out dataset.sizes."
        )
    name, pixels = dataset.augmentation, dataset.translate_pixels
    augment = None if name == "none" else resident_augmentation(name, pixels)
    return resident(
        raw, split_seed=dataset.split_seed, device=device, dtype=dtype, held_out=dataset.held_out, augment=augment
    )


def _streamed(files: Files, dataset: Dataset, device: torch.device, dtype: torch.dtype) -> Data:
    channels, height, width = dataset.shape
    if channels != 3 or height != width:
        raise ConfigError(
            f"dataset '{dataset.name}' streams square colour images, so dataset.shape must be [3, N, N]: got {dataset.shape}."
        )
    if dataset.augmentation not in ("none", "crop_flip"):
        raise ConfigError(
            f"dataset '{dataset.name}' is streamed, so dataset.augmentation must be crop_flip or none: got {dataset.augmentation}."
        )
    require_readable(Path(dataset.root), [*files.train, *files.test])
    return streamed(
        files,
        normalisation(
            torch.tensor(files.mean, dtype=torch.float64), torch.tensor(files.std, dtype=torch.float64), device, dtype
        ),
        split_seed=dataset.split_seed,
        held_out=dataset.held_out,
        size=height,
        sizes=dataset.sizes,
        workers=dataset.workers,
        augmented=dataset.augmentation == "crop_flip",
        device=device,
    )
