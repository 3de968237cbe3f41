"""The device of a run, and how PyTorch computes and stores there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from snip_cli.errors import ConfigError
from snip_cli.runtime.gpus import one_gpu


def find_device(name: str) -> torch.device:
    """The device called auto, cpu or cuda; raises ConfigError where it is not there.

    Of the processes that torchrun starts on a machine each has a GPU of its own.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda was asked for but PyTorch sees no CUDA device here: use device=cpu or device=auto."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= count:
        raise ConfigError(
            f"torchrun started more processes than the {count} GPUs of this machine: lower --nproc_per_node."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def own_device(name: str) -> Iterator[torch.device]:
    """The device called auto, cpu or cuda, as `find_device`; of several GPUs one that no other run of this user has, if there is one."""
    device = find_device(name)
    if device.type == "cpu" or "LOCAL_RANK" in os.environ:
        yield device
        return
    with one_gpu() as number:
        torch.cuda.set_device(number)
        yield torch.device("cuda", number)


def describe(device: torch.device) -> str:
    """The device in words, for `env.json`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({torch.get_num_threads()} threads)"


def set_up(device: torch.device, *, deterministic: bool) -> None:
    """Set PyTorch's global switches: how float32 is multiplied on a GPU, and whether an operation may differ from run to run.

    The cost of `deterministic` is that cuDNN's algorithms are not tried for speed, and that an operation without a deterministic
    algorithm is an error.
    """
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; costs 25 MB
        torch.set_float32_matmul_precision("high")  # TF32


def data_type(dtype: str) -> torch.dtype:
    """What weights and images are stored in; bfloat16 is for the arithmetic alone."""
    return torch.float64 if dtype == "float64" else torch.float32
