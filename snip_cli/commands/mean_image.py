"""The mean training image of a run's data set, which `snip-report --batch-sizes` draws beside the masks."""

import functools
import logging
from pathlib import Path

import numpy

from snip_cli import registry
from snip_cli.config import reading as configuration

log = logging.getLogger("snip_cli")


def mean_training_image(folder: Path) -> numpy.ndarray | None:
    """Return the mean of all images that a run trains on, over channels too, scaled to [0, 1], of shape (H, W).

    None, with a warning, where the user defined the data set in a folder of their own, which a run does not name. Raises ConfigError where
    the data cannot be read.
    """
    import torch

    from snip_cli.data.loading import load_data

    registry.load_builtin()
    dataset = configuration.read(folder / "config.yaml").dataset
    if dataset.name not in registry.datasets.names():
        log.warning(
            "the mean training image is left out: '%s' is not a data set of snip-run, and a run does not record which --config-dir defines it",
            dataset.name,
        )
        return None
    train = load_data(dataset, torch.device("cpu"), torch.float32).train
    rows_B = torch.arange(len(train)).split(1000)
    sums_CHW = (images_BCHW.double().sum(dim=0) for images_BCHW, _ in train.selected(rows_B))
    mean_HW = (functools.reduce(torch.add, sums_CHW).mean(dim=0) / len(train)).numpy()
    return (mean_HW - mean_HW.min()) / (numpy.ptp(mean_HW) or 1)
