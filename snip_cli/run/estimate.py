"""How long a run will take: from earlier runs in the same folder on this machine, or from a short timing."""

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from snip_cli.compact.measure import forward_multiply_accumulates
from snip_cli.config.reading import read
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.models.building import build_model
from snip_cli.runfolder.record import read_environment
from snip_cli.runtime.device import data_type, describe_device
from snip_cli.runtime.words import duration
from snip_cli.training.trainer import Forward, make_optimizer

# Earlier runs that are read at most: those whose sparsity is nearest.
READ = 5
# A timing lasts until so many seconds or iterations, of batches of about so many multiply-accumulates in the forward pass.
SECONDS, ITERATIONS, LARGEST = 0.3, 5, 5e8


@dataclass(frozen=True)
class Estimate:
    """The seconds that one seed trains, and what they are taken from, in words."""

    seconds: float
    source: str

    def __str__(self) -> str:
        return f"about {duration(self.seconds)} a seed, {self.source}"


def from_earlier_runs(config: Config, device: torch.device, iterations: int) -> Estimate | None:
    """Return what `iterations` will take at the rate of the earlier run that is most like this one; None if there is none.

    Earlier runs count if they lie in the same folder, were made on this machine and device, and agree in model, data set, batch, type and
    whether anything is pruned.
    """
    where = describe_device(device)
    found = Path(config.output_dir).glob(f"*-{config.model.name}-{config.dataset.name}-*/metrics.json")
    folders = [path.parent for path in found if path.parent.name.startswith("reference-") == config.is_reference]
    for folder in sorted(folders, key=lambda folder: (_distance(config, folder), folder.name))[:READ]:
        try:
            made, earlier = read_environment(folder), read(folder / "config.yaml")
        except ConfigError:
            continue
        alike = all(
            getattr(earlier, key) == getattr(config, key) for key in ("model", "dtype", "compile", "sync_batchnorm")
        )
        rates = [rate for rate in (made.images_per_second or {}).values() if rate > 0]  # 0: it was not trained
        here = made.host == platform.node() and made.device == where
        if alike and here and rates and earlier.schedule.batch_size == config.schedule.batch_size:
            seconds = iterations * config.schedule.batch_size * len(rates) / sum(rates)
            return Estimate(seconds, f"as {folder.name} took here")
    return None


def _distance(config: Config, folder: Path) -> float:
    """Return how far apart the sparsities of a run and of a run's folder are, by the logarithm of what is kept."""
    marks = [part[1:] for part in folder.name.split("-") if part[:1] == "s" and part[1:2].isdigit()]
    try:
        return abs(math.log(1 - float(config.sparsity)) - math.log(1 - float(marks[-1])))
    except (ValueError, IndexError):
        return 0.0


def by_timing(config: Config, device: torch.device, iterations: int) -> Estimate | None:
    """Return what `iterations` will take by a timing of the whole network on random images; None if it cannot be timed."""
    schedule, shape = config.schedule, tuple(config.dataset.shape)
    try:
        with torch.random.fork_rng(devices=[]):
            model = build_model(config).to(device, data_type(config.dtype))
            model = model.to(memory_format=torch.channels_last).train()
            most = fitting_batch(schedule.batch_size, forward_multiply_accumulates(model, shape), device)
            images = torch.randn(most, *shape, device=device, dtype=data_type(config.dtype))
            labels = torch.randint(config.dataset.classes, (most,), device=device)
            optimizer = make_optimizer(model, schedule)
            forward = Forward(model, bfloat16=config.dtype == "bfloat16")

            def step(batch: int) -> None:
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(forward.training(images[:batch]), labels[:batch]).backward()
                optimizer.step()

            one = _time(partial(step, most), device)
            if most < schedule.batch_size:  # part of a step, such as the optimizer's, does not grow with the batch
                less = _time(partial(step, most // 2), device)
                each = max(0.0, one - less) / (most - most // 2)
                one += each * (schedule.batch_size - most)
    except Exception:  # a user's network may raise anything, and the run itself says so
        return None
    whole = "" if config.is_reference else " of the whole network; a pruned one may be faster"
    return Estimate(one * iterations, f"by a short timing{whole}")


def fitting_batch(batch: int, multiply_accumulates: int, device: torch.device) -> int:
    """Return how many images of a batch to time with: all on a GPU, and on a CPU as many as take a moment, at least four."""
    if device.type != "cpu":
        return batch
    return min(batch, max(4, int(LARGEST / max(1, multiply_accumulates))))


def _time(step: Callable[[], None], device: torch.device) -> float:
    """Return the seconds of a step, without those of the first one."""
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    started, done = time.perf_counter(), 0
    while done < ITERATIONS and time.perf_counter() - started < SECONDS:
        step()
        done += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / done
