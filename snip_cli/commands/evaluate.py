"""`snip-run eval=FOLDER`: evaluates the weights of a finished run again."""

import dataclasses
import logging
from pathlib import Path

import torch

from snip_cli.data.loading import load_data
from snip_cli.models.building import build_model
from snip_cli.run.checks import check
from snip_cli.runfolder.record import read_finished
from snip_cli.runtime.device import data_type, find_device, set_up
from snip_cli.training.evaluation import evaluate
from snip_cli.training.trainer import Forward

log = logging.getLogger("snip_cli")


def evaluate_again(folder: Path, *, device: str, root: str) -> dict[int, float]:
    """Return the test error in percent of every seed of a finished run, and log it beside the recorded error.

    Args:
        device: auto, cpu or cuda.
        folder: the folder of the run.
        root: the folder that data sets lie in on this machine.

    Raises:
        ConfigError: the folder holds no finished run, or its weights are not there.
    """
    run = read_finished(folder)
    config = run.config
    check(config)
    where = find_device(device)
    set_up(where, deterministic=config.deterministic)
    data = load_data(dataclasses.replace(config.dataset, root=root), where, data_type(config.dtype))
    model = build_model(config).to(where, data_type(config.dtype)).to(memory_format=torch.channels_last)
    errors = {}
    for seed, result in run.results.items():
        run.require(seed, run.weights, "checkpoint.pt")
        model.load_state_dict(run.weights[seed])
        errors[seed], loss = evaluate(model, data.test, forward=Forward(model, bfloat16=config.dtype == "bfloat16"))
        log.info(
            "seed %d: test error %.2f %% (recorded: %.2f %%), test loss %.4f",
            seed,
            errors[seed],
            result.test_error,
            loss,
        )
    return errors
