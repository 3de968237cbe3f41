"""The processes of torchrun that train one network; without torchrun, a group of one process.

Every process trains on its share of each batch. Only the first process writes to the run's folder.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from snip_cli.errors import ConfigError, RunError
from snip_cli.runtime.signals import ending_with

Plain = TypeVar("Plain")

LOST = "The run was stopped, or another of its processes was lost: start the same command again to continue from the last checkpoint."


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process among `size` processes, and their collective operations."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def broadcast(self, value: Plain) -> Plain:
        """Return the first process's `value` (CPU tensors and plain Python) in every process."""
        if self.size == 1:
            return value
        box: list[Any] = [value if self.is_first else None]
        dist.broadcast_object_list(box)
        received: Plain = box[0]
        return received

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of all processes' tensors, computed in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Copy the first process's values to every process, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


# The group without torchrun.
SINGLE_PROCESS = ProcessGroup()


def check_divisible(batch_size: int, size: int) -> None:
    """Raise ConfigError if `size` processes cannot share a batch evenly."""
    if batch_size % size:
        raise ConfigError(
            f"schedule.batch_size={batch_size} cannot be shared evenly by {size} processes: choose a multiple of {size}."
        )


@contextmanager
def process_group(device: torch.device, batch_size: int) -> Iterator[ProcessGroup]:
    """Provide the group that torchrun's environment describes.

    Args:
        device: the device of this process.
        batch_size: images in one batch of all processes together.

    Raises:
        ConfigError: the processes cannot share the batch evenly.
        RunError: another process of the group was lost, or this one received SIGTERM.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if size == 1:
        yield SINGLE_PROCESS
        return
    check_divisible(batch_size, size)
    signal.signal(signal.SIGTERM, stop)  # torchrun sends it to the other processes when one dies
    try:
        with ending_with(os.getppid()):  # a torchrun that is killed stops nobody
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
    """Raise RunError; a signal handler."""
    raise RunError(LOST)


def lost_another(error: Exception) -> bool:
    """Return whether gloo or NCCL raises such an error when a process of the group is lost."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Timed out", "timeout")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)
