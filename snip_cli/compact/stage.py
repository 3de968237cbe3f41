"""`compact=true`: makes the networks of a finished run smaller, checks and measures them, and writes them to its
folder.
"""

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
from snip_cli.compact.measure import count, table_rows, time_forward
from snip_cli.compact.network import Compact, compact, stopped_sentence
from snip_cli.config.schema import Config
from snip_cli.data.loading import load_data
from snip_cli.errors import RunError
from snip_cli.models.building import drawn_model
from snip_cli.runfolder.record import read_finished
from snip_cli.runtime.device import data_type, describe_device, own_device, set_up
from snip_cli.runtime.environment import git_state
from snip_cli.runtime.files import write_text

log = logging.getLogger("snip_cli")

BATCHES = (1, 128)
# The largest difference of outputs in double precision, relative to the largest output if that is above 1.
TOLERANCE = 1e-5


def compact_finished(config: Config) -> None:
    """Do `compact_run` on the folder of a configuration whose run is finished; under torchrun only in the first
    process.
    """
    if int(os.environ.get("RANK", 0)) == 0:
        compact_run(config.folder, device=config.device, root=config.dataset.root)


def compact_run(folder: Path, *, device: str, root: str) -> dict[str, Any]:
    """Make the network of every seed of a finished run smaller, and write `compact.pt` and `compact.json`.

    Args:
        folder: the run's folder.
        device: auto, cpu or cuda; the device that the networks are timed on.
        root: the folder of data sets on this machine.

    Returns:
        The content of `compact.json`.

    Raises:
        ConfigError: the folder holds no finished run, its weights or masks are missing, or torch.fx cannot follow the
            network.
        RunError: the smaller network's outputs differ from the masked network's.
    """
    run = read_finished(folder)
    shape = tuple(run.config.dataset.shape)
    with own_device(device) as where:
        set_up(where, deterministic=run.config.deterministic)
        images_NCHW = test_images(run.config, root, where)
        compacted, entries = {}, []
        for seed in run.results:
            masked = files.masked_model(run, seed)
            compacted[seed] = compact(masked, shape)
            entries.append(measure(run.config, seed, masked, compacted[seed], images_NCHW))
            log_table(entries[-1])
        commit, dirty = git_state()
        content = {
            "device": describe_device(where),
            "torch": torch.__version__,
            "commit": commit,
            "dirty": dirty,
            "images": len(images_NCHW),
            "seeds": entries,
        }
    files.save(folder, compacted)
    write_text(folder / "compact.json", json.dumps(content, indent=2) + "\n")
    log.info(
        "wrote the compact networks to %s and their measurements to %s", folder / "compact.pt", folder / "compact.json"
    )
    return content


def test_images(config: Config, root: str, device: torch.device) -> Tensor:
    """Return the first test images, as many as the largest batch has; they are repeated if there are fewer."""
    split = load_data(dataclasses.replace(config.dataset, root=root), device, data_type(config.dtype)).test
    rows = torch.arange(max(BATCHES), device=split.rows_device) % len(split)
    [(images_NCHW, _)] = split.selected([rows])
    return images_NCHW.contiguous(memory_format=torch.channels_last)


def measure(config: Config, seed: int, masked: nn.Module, compacted: Compact, images_NCHW: Tensor) -> dict[str, Any]:
    """Return one seed's entry of `compact.json`. Raises RunError if the outputs differ."""
    device = images_NCHW.device
    dense = drawn_model(config, seed, "weights", config.init_train, device).eval()
    networks = {
        "dense": dense,
        "masked": on_device(masked, device),
        "compact": on_device(copy.deepcopy(compacted.network), device),
    }
    differences = compare(networks["masked"], networks["compact"], images_NCHW)
    times = {size: time_forward(networks, images_NCHW[:size]) for size in BATCHES}
    entry: dict[str, Any] = {"seed": seed, **differences}
    for name, network in networks.items():
        own = {size: times[size][0][name] for size in BATCHES}
        entry[name] = {
            **count(network, tuple(config.dataset.shape)),
            "milliseconds": {str(size): own[size][0] for size in BATCHES},
            "processor_milliseconds": {str(size): own[size][1] for size in BATCHES},
        }
    entry["timed_rounds"] = {str(size): times[size][1] for size in BATCHES}
    return {**entry, "layers": compacted.layers, "stopped": compacted.stopped}


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to `device`, in the memory format that it trains in."""
    # PyTorch's type hints lack this combination of arguments.
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.inference_mode()
def compare(masked: nn.Module, smaller: nn.Module, images_NCHW: Tensor) -> dict[str, float]:
    """Compare the outputs of the smaller network with those of the masked one.

    Returns the largest output, the largest difference in the run's data type and in double precision, and the rounding
    error of the masked network's own outputs. Raises RunError if the difference in double precision is more than
    rounding.
    """
    exact_masked, exact_smaller = (
        copy.deepcopy(network).double()(images_NCHW.double()) for network in (masked, smaller)
    )
    outputs = masked(images_NCHW)
    largest, exact = float(outputs.abs().max()), largest_difference(exact_masked, exact_smaller)
    if not exact <= TOLERANCE * max(1.0, largest):
        raise RunError(
            f"The compact network's outputs differ from the masked network's by {exact:.2g}, more than rounding, so nothing is written: "
            "leave out compact=true for this network."
        )
    return {
        "largest_output": largest,
        "max_difference": largest_difference(outputs, smaller(images_NCHW)),
        "max_difference_float64": exact,
        "rounding_of_masked": largest_difference(outputs, exact_masked),
    }


def largest_difference(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max())


def log_table(entry: dict[str, Any]) -> None:
    """Log the table of one seed."""
    table = tabulate(table_rows(entry), headers="keys", tablefmt="simple", disable_numparse=True, stralign="right")
    log.info("\nseed %d: outputs differ by at most %.1e\n%s", entry["seed"], entry["max_difference"], table)
    if entry["stopped"]:
        log.info("%s", stopped_sentence(entry["stopped"]))
