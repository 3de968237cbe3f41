"""What a network costs, counted and timed."""

import io
import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.plan import forward_multiply_accumulates
from snip_cli.pruning.mask import prunable_parameters

# Rounds of timing: at most, and at least however long they take; between the two as many as fit into the seconds.
MOST, LEAST, SECONDS = 50, 5, 10.0


def counted(network: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """Parameters, those of them that are prunable and not zero, multiply-accumulates for one image of `shape`, bytes of its saved state."""
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "not_zero": sum(int(p.count_nonzero()) for p in prunable_parameters(network).values()),
        "multiply_accumulates": forward_multiply_accumulates(network, shape),
        "bytes": file.getbuffer().nbytes,
    }


def timed(networks: Mapping[str, nn.Module], images_NCHW: Tensor) -> tuple[dict[str, float], int]:
    """Median milliseconds of each network's forward pass, and of how many: one after the other in every round, after a first one.

    So that whatever else slows the machine down slows all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    until = float("inf")
    with torch.inference_mode():
        for number in range(MOST + 1):
            for name, network in networks.items():
                finish(images_NCHW.device)
                started = time.perf_counter()
                network(images_NCHW)
                finish(images_NCHW.device)
                seconds[name].append(time.perf_counter() - started)
            if number == 0:
                until = time.perf_counter() + SECONDS
            elif number >= LEAST and time.perf_counter() > until:
                break
    medians = {name: round(1000 * statistics.median(all_of[1:]), 4) for name, all_of in seconds.items()}
    return medians, number


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def told(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of the table of one seed."""
    return [
        {
            "network": name,
            "parameters": f"{entry[name]['parameters']:,}",
            "not zero": f"{entry[name]['not_zero']:,}",
            "multiply-accumulates": f"{entry[name]['multiply_accumulates']:,}",
            "file (kB)": f"{entry[name]['bytes'] / 1000:,.1f}",
            **{f"ms, batch {size}": f"{ms:.3g}" for size, ms in entry[name]["milliseconds"].items()},
        }
        for name in ("dense", "masked", "compact")
    ]
