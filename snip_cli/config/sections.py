"""The parts of a configuration, a frozen dataclass for each group of choices, checked when they are made. Imports no torch."""

import math
from dataclasses import dataclass, field
from typing import Any

from snip_cli.errors import ConfigError


def require(condition: bool, sentence: str) -> None:
    """Raise ConfigError with `sentence` unless `condition` holds."""
    if not condition:
        raise ConfigError(sentence)


# The sparsity of a method that finds by itself how much can go.
AUTO = "auto"


def check_sparsity(sparsity: float | str) -> None:
    """Raise ConfigError unless `sparsity` is a number in [0, 1) or `auto`."""
    number = isinstance(sparsity, int | float) and not isinstance(sparsity, bool)
    sentence = f"sparsity must be a number in [0, 1), the fraction that is removed, not {sparsity!r}: 0.95 keeps 5 %."
    require(sparsity == AUTO or (number and 0 <= sparsity < 1), sentence)


# `flip_translate` and `flip_translate_released` are for data in memory, `crop_flip` for streamed data.
AUGMENTATIONS = ("none", "flip_translate", "flip_translate_released", "crop_flip")


@dataclass(frozen=True)
class Dataset:
    """A data set's name, where it lies, the shape that models are built for without reading it, and how its images are drawn.

    With `random_labels` the labels that are trained on are shuffled once; scores are computed from the true ones.
    """

    name: str
    root: str
    shape: list[int]
    classes: int
    split_seed: int
    held_out: float = 0.1
    augmentation: str = "none"
    translate_pixels: int = 4
    sizes: list[int] = field(default_factory=list)
    workers: int = 4
    random_labels: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shaped = len(self.shape) == 3 and all(size >= 1 for size in self.shape)
        require(shaped, f"dataset.shape must be [channels, height, width], not {self.shape}.")
        require(self.classes >= 1, f"dataset.classes must be at least 1, not {self.classes}.")
        require(0 <= self.split_seed < 2**32, f"dataset.split_seed must lie in [0, 2^32), not {self.split_seed}.")
        require(0 < self.held_out < 1, f"dataset.held_out must lie in (0, 1), not {self.held_out}.")
        known = ", ".join(AUGMENTATIONS)
        require(
            self.augmentation in AUGMENTATIONS,
            f"dataset.augmentation must be one of {known}, not '{self.augmentation}'.",
        )
        require(self.translate_pixels >= 0, f"dataset.translate_pixels must be 0 or more, not {self.translate_pixels}.")
        require(
            all(size >= 1 for size in self.sizes),
            f"dataset.sizes must be positive numbers of pixels, not {self.sizes}.",
        )
        require(self.workers >= 0, f"dataset.workers must be 0 or more, not {self.workers}.")


@dataclass(frozen=True)
class Model:
    """A model's name, the weights that it starts from where they are not drawn, and the options of its function."""

    name: str
    weights: str = ""
    options: dict[str, Any] = field(default_factory=dict)


ABLATIONS = ("none", "shuffle_layers", "redraw", "invert")


@dataclass(frozen=True)
class Method:
    """A method's name, what the pipeline does around it, and the options of its function.

    `trained`: the network that is scored is the trained reference, which is trained first where it is not there. `redraw`: the pruned
    network starts from newly drawn weights, not from those that were scored. Scores are computed from `batches` batches of `batch_size`
    random training images (where a YAML does not say, as many as in a training batch), of all classes or of `classes` alone, or, where it
    is not 0, from `samples_per_class` of every class. `sanity` is an ablation: the mask is shuffled within each layer, the weights are
    drawn anew, or the lowest scores are kept.
    """

    name: str
    redraw: bool = True
    batch_size: int = 100
    batches: int = 1
    trained: bool = False
    samples_per_class: int = 0
    classes: list[int] = field(default_factory=list)
    sanity: str = "none"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, f"method.batch_size must be at least 1, not {self.batch_size}.")
        require(self.batches >= 1, f"method.batches must be at least 1, not {self.batches}.")
        require(
            self.samples_per_class >= 0,
            f"method.samples_per_class must be 0 (no matter which class) or more, not {self.samples_per_class}.",
        )
        known = ", ".join(ABLATIONS)
        require(self.sanity in ABLATIONS, f"method.sanity must be one of {known}, not '{self.sanity}'.")
        require(
            not (self.classes and self.samples_per_class),
            "method.classes and method.samples_per_class both choose the images to score with: leave one out.",
        )


@dataclass(frozen=True)
class Init:
    """An initialiser's name and the options of its function."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Schedule:
    """How a network is trained, in iterations.

    `momentum` and `nesterov` are those of `sgd`. With `train_error` every evaluation is of the training images too.
    """

    name: str
    iterations: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    milestones: list[int]
    decay: float
    evaluate_every: int
    checkpoint_every: int
    nesterov: bool = False
    warmup: int = 0
    optimizer: str = "sgd"
    train_error: bool = False

    def __post_init__(self) -> None:
        require(self.iterations >= 0, f"schedule.iterations must be 0 (no training) or more, not {self.iterations}.")
        for key in ("batch_size", "evaluate_every", "checkpoint_every"):
            require(getattr(self, key) >= 1, f"schedule.{key} must be at least 1, not {getattr(self, key)}.")
        require(
            0 < self.learning_rate < math.inf, f"schedule.learning_rate must be positive, not {self.learning_rate}."
        )
        known = ", ".join(OPTIMIZERS)
        require(self.optimizer in OPTIMIZERS, f"schedule.optimizer must be one of {known}, not '{self.optimizer}'.")
        require(
            self.optimizer == "sgd" or self.momentum == 0,
            f"schedule.momentum={self.momentum} belongs to sgd: with schedule.optimizer={self.optimizer} set it to 0, and schedule.learning_rate near 0.001.",
        )
        require(0 <= self.momentum < 1, f"schedule.momentum must lie in [0, 1), not {self.momentum}.")
        require(0 <= self.weight_decay < math.inf, f"schedule.weight_decay must be 0 or more, not {self.weight_decay}.")
        require(0 < self.decay <= 1, f"schedule.decay must lie in (0, 1], not {self.decay}.")
        require(
            self.momentum > 0 or not self.nesterov, "schedule.nesterov=true needs schedule.momentum above 0: set both."
        )
        require(self.warmup >= 0, f"schedule.warmup must be 0 or more iterations, not {self.warmup}.")
        rising = all(a < b for a, b in zip([0, *self.milestones], self.milestones, strict=False))
        require(rising, f"schedule.milestones must be positive and rising, not {self.milestones}.")

    def rate_at(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0: multiplied by `decay` at every milestone that is reached.

        During the first `warmup` iterations it rises in equal steps to its full value.
        """
        rate = self.learning_rate * self.decay ** sum(iteration >= milestone for milestone in self.milestones)
        return rate * min(1.0, (iteration + 1) / self.warmup) if self.warmup else rate
