"""The processes that train one network together, as torchrun starts them; without torchrun a group of one.

The first process alone writes the run's folder; each trains on its share of every batch.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from snip_cli.errors import ConfigError, RunError

Plain = TypeVar("Plain")

LOST = "The run was stopped or another of its processes was lost: start the same command again, it goes on from the last checkpoint."


@dataclass(frozen=True)
class ProcessGroup:
    """This process's place among `size` processes, and what they do together."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def broadcast(self, value: Plain) -> Plain:
        """The first process's `value` (tensors on the CPU and plain Python), in every process."""
        if self.size == 1:
            return value
        box = [value if self.is_first else None]
        dist.broadcast_object_list(box)
        return box[0]

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum of every process's tensor, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


# What there is without torchrun.
SINGLE_PROCESS = ProcessGroup()


def check_divisible(batch_size: int, size: int) -> None:
    """Raise ConfigError where `size` processes cannot share a batch evenly."""
    if batch_size % size:
        raise ConfigError(
            f"schedule.batch_size={batch_size} cannot be shared by {size} processes: choose a multiple of {size}."
        )


@contextmanager
def process_group(device: torch.device, batch_size: int) -> Iterator[ProcessGroup]:
    """The group that torchrun's environment describes, for a global batch of `batch_size`.

    Raises:
        ConfigError: the processes cannot share the batch evenly.
        RunError: another process of the group is gone, or the run was asked to stop (SIGTERM).
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if size == 1:
        yield SINGLE_PROCESS
        return
    check_divisible(batch_size, size)
    signal.signal(signal.SIGTERM, stop)  # which torchrun sends to the others where one process dies
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield ProcessGroup(rank, size)
    except RuntimeError as error:
        if isinstance(error, RunError) or not lost_another(error):
            raise
        cause = str(error).strip().splitlines()[0]
        raise RunError(f"{LOST.removesuffix('.')} ({cause}).") from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def stop(number: int, frame: FrameType | None) -> None:
    """End the run with one sentence; the handler of a signal."""
    raise RunError(LOST)


def lost_another(error: Exception) -> bool:
    """Whether an error is the one that gloo or NCCL raises when a process of the group is gone."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Timed out", "timeout")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)
