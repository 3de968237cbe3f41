"""Shared by the training benchmarks: rivals that take turns in one process, and the training steps that they time."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from snip_cli.config.composition import composer
from snip_cli.config.reading import load
from snip_cli.config.schema import Config
from snip_cli.data.resident import ResidentSplit
from snip_cli.data.splits import Data
from snip_cli.models.building import build_model, drawn_model
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.pruner import FixedMask
from snip_cli.runtime.processes import SINGLE_PROCESS, ProcessGroup
from snip_cli.training.loop import Meter, Training
from snip_cli.training.trainer import Forward, Trainer, make_optimizer

Step = Callable[[], None]
Clock = Callable[[], float]


def configured(*overrides: str) -> Config:
    """Return the configuration that `snip-run OVERRIDES` would run with."""
    with composer(None) as compose:
        return load(compose.compose(overrides))


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its work; does nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(step: Step, device: torch.device, times: int, clock: Clock = time.perf_counter) -> float:
    """Return the seconds of one step, the mean over `times` steps."""
    synchronise(device)
    started = clock()
    for _ in range(times):
        step()
    synchronise(device)
    return (clock() - started) / times


def take_turns(
    steps: Mapping[str, Step], device: torch.device, rounds: int, times: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Return the seconds of one step of every rival in each round, after a warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            taken = timed(step, device, times, clock)
            if number > 0:
                seconds[name].append(taken)
    return seconds


def ratio(seconds: Mapping[str, list[float]], one: str, other: str) -> float:
    """Return the median over the rounds of the time of `one` divided by the time of `other`."""
    return round(statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True)), 3)


def our_step(config: Config, data: Data, mask: Mask) -> Step:
    """Return one iteration of this project's training of a masked network, with selection and augmentation of the batch."""
    model = drawn_model(config, 0, "weights", config.init_train, data.train.device).train()
    forward = Forward(model, SINGLE_PROCESS, bfloat16=config.dtype == "bfloat16", compiled=config.compile)
    return step_of(Trainer(model, FixedMask(model, mask), data, config.schedule, 0, forward=forward))


def step_of(training: Training, iterations: int = 1) -> Step:
    """Return `iterations` iterations of a training, with selection of the batches."""
    meter = Meter()

    def step() -> None:
        training.advance(iterations, meter)

    return step


def bound_step(config: Config, data: Data) -> Step:
    """Return forward, backward and optimizer step on one batch on the device: no data loading, no mask, no schedule."""
    model = drawn_model(config, 0, "weights", config.init_train, data.train.device).train()
    forward = Forward(model, ProcessGroup(), bfloat16=config.dtype == "bfloat16", compiled=config.compile)
    optimizer = make_optimizer(model, config.schedule)
    rows = torch.arange(config.schedule.batch_size, device=data.train.device)
    [(images, labels)] = data.train.selected([rows])
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        loss = F.cross_entropy(forward.training(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


class ByHand(Dataset):
    """Images in memory that are transformed one by one, as in torchvision's data sets."""

    def __init__(self, split: ResidentSplit, *, augmented: bool) -> None:
        self.images = split.images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self.labels = split.labels.tolist()
        augment = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()] if augmented else []
        self.transform = v2.Compose([*augment, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row].squeeze())), self.labels[row]


def handwritten_step(config: Config, split: ResidentSplit, mask: Mask, *, workers: int) -> Step:
    """Return one iteration of the usual loop: torchvision's transforms, a DataLoader, float32 (TF32 on a GPU, as ours), masks in gradient hooks, SGD."""
    device = split.device
    images = ByHand(split, augmented=config.dataset.augmentation != "none")
    size = config.schedule.batch_size
    loader = DataLoader(images, batch_size=size, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda")
    model = build_model(config).to(device)
    for name, parameter in model.named_parameters():
        if name in mask:
            keep = mask[name].to(device)
            parameter.data.mul_(keep)
            parameter.register_hook(lambda gradient, keep=keep: gradient * keep)
    s = config.schedule
    optimizer = torch.optim.SGD(model.parameters(), s.learning_rate, momentum=s.momentum, weight_decay=s.weight_decay)
    batches = endless(loader)

    def step() -> None:
        images, labels = next(batches)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()

    return step


def endless(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of epoch after epoch."""
    while True:
        yield from loader


def usual_workers() -> int:
    """Return the number of worker processes that a careful user would give a DataLoader on this machine."""
    return min(8, os.cpu_count() or 1)
