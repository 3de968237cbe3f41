"""The cost of a network: parameters, multiply-accumulates, bytes and milliseconds."""

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

# The number of timed rounds is as many as fit into SECONDS, but at least LEAST and at most MOST.
MOST, LEAST, SECONDS = 50, 5, 10.0


def forward_multiply_accumulates(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-accumulates of a network's forward pass for one image of `shape`: half of the operations that
    PyTorch counts.
    """
    return multiply_accumulates_by_layer(model, shape)[""]


def multiply_accumulates_by_layer(model: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """Return the multiply-accumulates of a forward pass for one image of `shape`: of each prunable layer by name, and under
    an empty name of all operations.

    An operation outside every layer belongs to the one layer that is not called itself, if there is one: the recurrent
    networks call torch.lstm or torch.gru with their layer's weights.
    """
    model = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, *shape, device="meta", dtype=next(model.parameters()).dtype))
    by_module = {name: sum(counts.values()) // 2 for name, counts in counter.get_flop_counts().items()}
    total, whole = counter.get_total_flops() // 2, type(model).__name__
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in prunable_parameters(model)))
    found = {name: by_module[f"{whole}.{name}"] for name in layers if f"{whole}.{name}" in by_module}
    if len(found) == len(layers) - 1:
        found |= {name: total - sum(found.values()) for name in layers if name not in found}
    return {"": total, **found}


def count(network: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """Return a network's parameters, its nonzero prunable parameters, multiply-accumulates for one image of `shape`,
    and bytes of its saved state.
    """
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "not_zero": sum(int(p.count_nonzero()) for p in prunable_parameters(network).values()),
        "multiply_accumulates": forward_multiply_accumulates(network, shape),
        "bytes": file.getbuffer().nbytes,
    }


def time_forward(networks: Mapping[str, nn.Module], images_NCHW: Tensor) -> tuple[dict[str, tuple[float, float]], int]:
    """Return each network's forward pass in milliseconds, as (wall-clock time, processor time of this process), and the
    number of rounds.

    The times are medians over rounds. Every network is timed once per round, so that other load on the machine slows
    all of them alike. Wall-clock time includes waiting on a busy machine. Processor time does not, but it adds up over
    threads and leaves out the GPU.
    """
    clocks = (time.perf_counter, time.process_time)
    seconds: dict[str, list[list[float]]] = {name: [] for name in networks}
    until = float("inf")
    with torch.inference_mode():
        for number in range(MOST + 1):
            for name, network in networks.items():
                synchronize(images_NCHW.device)
                started = [clock() for clock in clocks]
                network(images_NCHW)
                synchronize(images_NCHW.device)
                seconds[name].append([clock() - start for clock, start in zip(clocks, started, strict=True)])
            if number == 0:  # warm-up
                until = time.perf_counter() + SECONDS
            elif number >= LEAST and time.perf_counter() > until:
                break
    medians = {
        name: tuple(round(1000 * statistics.median(column), 4) for column in zip(*rounds[1:], strict=True))
        for name, rounds in seconds.items()
    }
    return medians, number


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table_rows(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the rows of one seed's table, from its entry of `compact.json`."""
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
