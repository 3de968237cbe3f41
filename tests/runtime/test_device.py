"""The device of a run and PyTorch's global switches."""

import pytest
import torch

from snip_cli.errors import ConfigError
from snip_cli.pruning.conditions import scoring_mode
from snip_cli.runtime import device


@pytest.fixture(autouse=True)
def switches_as_they_were():
    """Restore PyTorch's global switches."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    precision = torch.get_float32_matmul_precision()
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
    torch.set_float32_matmul_precision(precision)


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine that seems to have two GPUs."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_sets_every_switch_and_its_absence_sets_them_back(deterministic):
    device.set_up(torch.device("cpu"), deterministic=not deterministic)
    device.set_up(torch.device("cpu"), deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert torch.backends.cudnn.deterministic is deterministic
    assert torch.backends.cudnn.benchmark is not deterministic


def test_a_gpu_multiplies_in_tf32_but_scores_in_full_float32(monkeypatch):
    device.set_up(torch.device("cuda"), deterministic=False)
    assert torch.get_float32_matmul_precision() == "high"
    with scoring_mode(torch.nn.Linear(1, 1)):
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "high"


def test_each_process_of_torchrun_has_a_gpu_of_its_own(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device.find_device("auto") == torch.device("cuda", 1)
    assert two_gpus == [1]


def test_a_run_takes_a_gpu_that_no_other_run_has(two_gpus, monkeypatch, tmp_path):
    monkeypatch.setattr(device, "LOCKS", tmp_path)
    monkeypatch.setattr(device, "gpu_names", lambda: ["one", "two"])
    with device.own_device("auto") as first, device.own_device("cuda") as second:
        assert (first, second) == (torch.device("cuda", 0), torch.device("cuda", 1))
    assert two_gpus[-2:] == [0, 1]


def test_more_processes_than_gpus_are_refused(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match=r"more processes than this machine has GPUs \(2\): lower --nproc_per_node"):
        device.find_device("cuda")


@pytest.mark.parametrize(
    ("dtype", "stored"), [("float32", torch.float32), ("bfloat16", torch.float32), ("float64", torch.float64)]
)
def test_weights_and_images_are_stored_in_the_dtype_but_for_bfloat16(dtype, stored):
    assert device.data_type(dtype) == stored
