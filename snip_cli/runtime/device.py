"""The device of a run, and how PyTorch computes and stores there.

On a machine with several GPUs each run takes one. Lock files record which; the system releases them when their process
ends.
"""

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import BaseFileLock, Timeout

from snip_cli.errors import ConfigError
from snip_cli.runtime.locks import file_lock

# One folder per user, because another user's lock files could not be opened. A user in a container may have a number
# but no name.
USER = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
LOCKS = Path(tempfile.gettempdir()) / f"snip-run-{USER}"


def find_device(name: str) -> torch.device:
    """Return the device named auto, cpu or cuda. Raises ConfigError if it does not exist.

    Each process that torchrun starts on a machine gets a GPU of its own.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda is not available: PyTorch finds no CUDA device. Use device=cpu or device=auto.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= count:
        raise ConfigError(
            f"torchrun started more processes than this machine has GPUs ({count}): lower --nproc_per_node."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def own_device(name: str) -> Iterator[torch.device]:
    """Provide the device named auto, cpu or cuda, as `find_device`; with several GPUs, one that few of this user's runs
    have taken.
    """
    device = find_device(name)
    if device.type == "cpu" or "LOCAL_RANK" in os.environ:
        yield device
        return
    with one_gpu() as number:
        torch.cuda.set_device(number)
        yield torch.device("cuda", number)


@contextmanager
def one_gpu() -> Iterator[int]:
    """Take a GPU for the duration of the block and provide its index: the first of those that fewest of this user's
    runs have taken.

    Runs that start together take different GPUs, and share one only when all are taken. Other users' runs and other
    programs are not considered. There must be a GPU.
    """
    lock, index = take_gpu(gpu_names())
    try:
        yield index
    finally:
        lock.release()


def take_gpu(names: list[str]) -> tuple[BaseFileLock, int]:
    """Return a held lock and the index of its GPU: the first GPU whose first lock is free, else whose second lock is
    free, and so on.
    """
    assert names
    LOCKS.mkdir(exist_ok=True)
    share = 0
    while True:
        for index, name in enumerate(names):
            lock = file_lock(LOCKS / f"{name}-{share}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return lock, index
        share += 1


def gpu_names() -> list[str]:
    """Return a name for each visible GPU, by index; a GPU has the same name in every process, whatever
    CUDA_VISIBLE_DEVICES is.
    """
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]


def describe_device(device: torch.device) -> str:
    """Return the device's description for `env.json`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu ({torch.get_num_threads()} threads)"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for bfloat16 products; without them, products of float32 are faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last one is ARM's


def set_up(device: torch.device, *, deterministic: bool) -> None:
    """Set PyTorch's global switches: float32 products on a GPU use TF32, and operations are deterministic on request.

    With `deterministic`, cuDNN does not search for the fastest algorithm, and an operation without a deterministic
    algorithm is an error.
    """
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; costs 25 MB
        torch.set_float32_matmul_precision("high")  # TF32


def data_type(dtype: str) -> torch.dtype:
    """Return the type that weights and images are stored in.

    With bfloat16 that is float32; only the arithmetic is bfloat16.
    """
    return torch.float64 if dtype == "float64" else torch.float32
