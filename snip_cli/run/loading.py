"""A finished run in a script of one's own: `snip_cli.load_run`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from snip_cli import registry
from snip_cli.compact.files import masked_model
from snip_cli.config.schema import Config
from snip_cli.data.resident import Raw, channel_statistics, normalisation
from snip_cli.errors import ConfigError
from snip_cli.pruning.mask import Mask
from snip_cli.runfolder.record import read_finished
from snip_cli.runfolder.results import SeedResult
from snip_cli.runtime.device import data_type


@dataclass(frozen=True)
class LoadedRun:
    """One seed of a finished run.

    Attributes:
        folder: the run's folder.
        config: the run's settings.
        seed: the replicate.
        model: the trained network with its mask applied, on the CPU, in inference mode and in the run's type. All of it can be trained.
        mask: bool by parameter name, True = kept.
        metrics: the seed's entry of `metrics.json`, as `metrics.test_error`.
    """

    folder: Path
    config: Config
    seed: int
    model: nn.Module
    mask: Mask
    metrics: SeedResult

    @cached_property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """The mean and standard deviation of pixels in [0, 1] that the run's images were normalised with, one number per channel.

        They are those of the training images, which are read for it. Raises ConfigError if the data set is not there.
        """
        dataset = self.config.dataset
        found = registry.datasets[dataset.name](Path(dataset.root), **dataset.options)
        if isinstance(found, Raw):
            return channel_statistics(found.train_images)
        return torch.tensor(found.mean, dtype=torch.float64), torch.tensor(found.std, dtype=torch.float64)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images as the network was trained on them.

        Args:
            images: N×C×H×W, or one image C×H×W: bytes from 0 to 255, or floating-point numbers from 0 to 1.

        Raises:
            ConfigError: images of another shape than the run's, or pixels out of that range.
        """
        require_pixels(images, tuple(self.config.dataset.shape))
        constants = normalisation(*self.normalisation, images.device, data_type(self.config.dtype))
        return constants(images.double() * 255 if images.is_floating_point() else images)


def require_pixels(images: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ConfigError unless images are a tensor of shape C×H×W, after a first dimension or none, with pixels in the range of its type."""
    if not isinstance(images, Tensor):
        raise ConfigError(f"images must be a tensor: got a {type(images).__name__}. Write torch.as_tensor(images).")
    if images.dtype == torch.bool or images.is_complex():
        raise ConfigError(f"pixels must be bytes or floating-point numbers: got {images.dtype}. Convert them first.")
    if images.ndim not in (3, 4) or tuple(images.shape[-3:]) != shape:
        given, one = ("×".join(map(str, sizes)) for sizes in (images.shape, shape))
        is_last = images.ndim in (3, 4) and tuple(images.shape[-3:]) == (*shape[1:], shape[0])
        remedy = "Move the channels forward: images.movedim(-1, -3)." if is_last else "Bring them to that shape first."
        raise ConfigError(
            f"images must be N×{one} or {one} (channels, height, width), as in the run: got {given}. {remedy}"
        )
    if not images.numel():
        return
    low, high = (value.item() for value in images.aminmax())
    largest = 1 if images.is_floating_point() else 255
    if not 0 <= low <= high <= largest:  # also for NaN
        allowed = (
            "floating-point pixels must be in [0, 1]" if largest == 1 else "whole numbers as pixels must be in [0, 255]"
        )
        raise ConfigError(
            f"{allowed}: got {low:g} to {high:g}. Give images as they are in the file, as bytes or divided by 255; normalise does the rest."
        )


def load_run(folder: str | Path, *, seed: int | None = None, config_dir: str | Path | None = None) -> LoadedRun:
    """Return one seed of a finished run: its network, mask, metrics and settings, and what normalises images for it.

    Args:
        folder: the run's folder, as snip-run prints it.
        seed: the replicate; the run's first seed by default.
        config_dir: the folder of your own models and data sets, as for snip-run.

    Raises:
        ConfigError: the folder holds no finished run, no such seed, or a damaged file.
    """
    registry.load_all(None if config_dir is None else Path(config_dir))
    run = read_finished(Path(folder))
    seed = run.config.seed if seed is None else seed
    model = masked_model(run, seed)
    run.require(seed, run.results, "metrics.json")
    return LoadedRun(run.folder, run.config, seed, model, dict(run.masks[seed]), run.results[seed])
