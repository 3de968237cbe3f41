"""What a network costs, counted and timed."""

import copy
import io
import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from snip_cli.models.prunable import prunable_parameters

# Rounds of timing: at most, and at least however long they take; between the two as many as fit into the seconds.
MOST, LEAST, SECONDS = 50, 5, 10.0


def forward_multiply_accumulates(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of a network's forward pass for one image of `shape`; PyTorch counts two operations for each."""
    model = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, *shape, device="meta", dtype=next(model.parameters()).dtype))
    return counter.get_total_flops() // 2


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


def timed(networks: Mapping[str, nn.Module], images_NCHW: Tensor) -> tuple[dict[str, tuple[float, float]], int]:
    """Each network's forward pass in milliseconds, (on the clock, of the process's own processor time), and over how many rounds.

    Medians over rounds in which every network has its turn, so that whatever else slows the machine down slows all of them. On a busy
    machine the clock runs while the process waits; its processor time does not, but adds up over the threads, and knows of no GPU.
    """
    clocks = (time.perf_counter, time.process_time)
    seconds: dict[str, list[list[float]]] = {name: [] for name in networks}
    until = float("inf")
    with torch.inference_mode():
        for number in range(MOST + 1):
            for name, network in networks.items():
                finish(images_NCHW.device)
                started = [clock() for clock in clocks]
                network(images_NCHW)
                finish(images_NCHW.device)
                seconds[name].append([clock() - start for clock, start in zip(clocks, started, strict=True)])
            if number == 0:  # which warms up
                until = time.perf_counter() + SECONDS
            elif number >= LEAST and time.perf_counter() > until:
                break
    medians = {
        name: tuple(round(1000 * statistics.median(column), 4) for column in zip(*rounds[1:], strict=True))
        for name, rounds in seconds.items()
    }
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
