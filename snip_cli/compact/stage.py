"""`compact=true`: the networks of a finished run, made smaller, measured and kept."""

import copy
import dataclasses
import json
import logging
import os
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn

from snip_cli.compact import files
from snip_cli.compact.measure import counted, timed, told
from snip_cli.compact.network import Compact, compact
from snip_cli.config.schema import Config
from snip_cli.data.loading import load_data
from snip_cli.errors import RunError
from snip_cli.models.building import drawn_model
from snip_cli.runfolder import record
from snip_cli.runtime.device import data_type, describe, own_device, set_up
from snip_cli.runtime.environment import git_state

log = logging.getLogger("snip_cli")

BATCHES = (1, 128)
# Of the outputs in double precision, relative to the largest of them where that is above one.
TOLERANCE = 1e-5


def compact_if_asked(config: Config) -> None:
    """What follows a finished run: nothing, or `compact_run`, which under torchrun the first process alone does."""
    if config.compact and int(os.environ.get("RANK", 0)) == 0:
        compact_run(config.folder, device=config.device, root=config.dataset.root)


def compact_run(folder: Path, *, device: str, root: str) -> dict[str, Any]:
    """Make every seed's network of the finished run in `folder` smaller; writes `compact.pt` and `compact.json`, gives the latter.

    Args:
        device: auto, cpu or cuda; where the networks are timed.
        root: where data sets lie on this machine.

    Raises:
        ConfigError: the folder holds no finished run, its weights or masks are not there, or the network cannot be followed.
        RunError: the smaller network's outputs are others.
    """
    run = files.read(folder)
    seeds = [result["seed"] for result in record.read_metrics(folder)["seeds"]]
    with own_device(device) as where:
        set_up(where, deterministic=run.config.deterministic)
        images_NCHW = test_images(run.config, root, where)
        compacted, entries = {}, []
        for seed in seeds:
            masked = run.masked_model(seed)
            compacted[seed] = compact(masked, run.shape)
            entries.append(measured(run, seed, masked, compacted[seed], images_NCHW))
            tell(entries[-1])
        commit, dirty = git_state()
        content = {
            "device": describe(where),
            "torch": torch.__version__,
            "commit": commit,
            "dirty": dirty,
            "images": len(images_NCHW),
            "seeds": entries,
        }
    files.save(folder, compacted)
    record.write_text(folder / "compact.json", json.dumps(content, indent=2) + "\n")
    log.info("the compact networks and what was measured: %s, %s", folder / "compact.pt", folder / "compact.json")
    return content


def test_images(config: Config, root: str, device: torch.device) -> Tensor:
    """As many of the first test images as the largest batch has, repeated where there are fewer."""
    split = load_data(dataclasses.replace(config.dataset, root=root), device, data_type(config.dtype)).test
    rows = torch.arange(max(BATCHES), device=split.rows_device) % len(split)
    [(images_NCHW, _)] = split.selected([rows])
    return images_NCHW.contiguous(memory_format=torch.channels_last)


def measured(
    run: files.Finished, seed: int, masked: nn.Module, compacted: Compact, images_NCHW: Tensor
) -> dict[str, Any]:
    """One seed's entry of `compact.json`; raises RunError where the outputs differ."""
    device = images_NCHW.device
    dense = drawn_model(run.config, seed, "weights", run.config.init_train, device).eval()
    networks = {
        "dense": dense,
        "masked": masked.to(device, memory_format=torch.channels_last),
        "compact": copy.deepcopy(compacted.network).to(device, memory_format=torch.channels_last),
    }
    differences = compared(networks["masked"], networks["compact"], images_NCHW)
    times = {size: timed(networks, images_NCHW[:size]) for size in BATCHES}
    entry: dict[str, Any] = {"seed": seed, **differences}
    for name, network in networks.items():
        own = {size: times[size][0][name] for size in BATCHES}
        entry[name] = {
            **counted(network, run.shape),
            "milliseconds": {str(size): own[size][0] for size in BATCHES},
            "processor_milliseconds": {str(size): own[size][1] for size in BATCHES},
        }
    entry["timed_rounds"] = {str(size): times[size][1] for size in BATCHES}
    return {**entry, "layers": compacted.layers}


@torch.inference_mode()
def compared(masked: nn.Module, smaller: nn.Module, images_NCHW: Tensor) -> dict[str, float]:
    """The largest output, the largest differences of the smaller network's outputs from the masked one's (as the run computes and in double
    precision), and the rounding that the masked network's outputs have themselves.

    Raises RunError where the difference in double precision is more than rounding.
    """
    exact_masked, exact_smaller = (
        copy.deepcopy(network).double()(images_NCHW.double()) for network in (masked, smaller)
    )
    outputs = masked(images_NCHW)
    largest, exact = float(outputs.abs().max()), largest_difference(exact_masked, exact_smaller)
    if not exact <= TOLERANCE * max(1.0, largest):
        raise RunError(
            f"The compact network's outputs differ from the masked one's by {exact:.2g}, so none is written: leave out compact=true for this network."
        )
    return {
        "largest_output": largest,
        "max_difference": largest_difference(outputs, smaller(images_NCHW)),
        "max_difference_float64": exact,
        "rounding_of_masked": largest_difference(outputs, exact_masked),
    }


def largest_difference(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max())


def tell(entry: dict[str, Any]) -> None:
    """Print one seed's table."""
    table = tabulate(told(entry), headers="keys", tablefmt="simple", disable_numparse=True, stralign="right")
    log.info("\nseed %d: outputs differ by at most %.1e\n%s", entry["seed"], entry["max_difference"], table)
