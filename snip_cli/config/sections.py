"""The sections of a configuration: frozen dataclasses that check their values when they are made."""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from snip_cli.config.fingerprint import hashed
from snip_cli.errors import ConfigError

# The sparsity of a method that finds by itself how much can be removed.
AUTO = "auto"
ABLATIONS = ("none", "shuffle_layers", "redraw", "invert")
# `training.trainer.optimizer_for` makes them.
OPTIMIZERS = ("sgd", "adam")
ANNEALS = ("step", "cosine", "linear")
# `flip_translate` and `flip_translate_released` are for data in memory, `crop_flip` is for streamed data.
AUGMENTATIONS = ("none", "flip_translate", "flip_translate_released", "crop_flip")


# A sparsity that is written in percent.
PERCENT = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*%\s*")


def require(condition: bool, sentence: str) -> None:
    """Raise ConfigError with `sentence` unless `condition` holds."""
    if not condition:
        raise ConfigError(sentence)


def require_value(is_allowed: bool, key: str, value: Any, allowed: str, remedy: str = "") -> None:
    """Raise ConfigError unless the value of the setting `key` is allowed."""
    require(is_allowed, f"{key} must be {allowed}: got {value!r}.{' ' * bool(remedy)}{remedy}")


def require_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Raise ConfigError unless `value` is one of `choices`."""
    require_value(value in choices, key, value, f"one of {', '.join(choices)}")


def check_sparsity(sparsity: float | str) -> None:
    """Raise ConfigError unless `sparsity` is a number in [0, 1) or `auto`."""
    is_number = isinstance(sparsity, int | float) and not isinstance(sparsity, bool)
    is_allowed = sparsity == AUTO or (is_number and 0 <= float(sparsity) < 1)
    as_percent = PERCENT.fullmatch(str(sparsity)) if isinstance(sparsity, str) else None
    given = float(as_percent[1]) if as_percent else sparsity
    is_percent = isinstance(given, int | float) and (as_percent is not None or given > 1) and given < 100
    percent = float(given) if is_percent else 90.0
    remedy = f"For {percent:.10g} %, write sparsity={percent / 100:.10g}."
    require_value(is_allowed, "sparsity", sparsity, "a number in [0, 1)", remedy)


@dataclass(frozen=True)
class Dataset:
    """A data set: its name, its folder, the shape that models are built for, and how its images are drawn.

    With `random_labels` the training labels are shuffled once. Scores are computed from the true labels. `train_images` counts the training
    images before any are held out; 0 if it is not known.
    """

    name: str
    root: str = field(metadata=hashed("never"))
    shape: list[int]
    classes: int
    split_seed: int
    held_out: float = field(default=0.1, metadata=hashed("unless default"))
    augmentation: str = field(default="none", metadata=hashed("unless default"))
    translate_pixels: int = field(default=4, metadata=hashed("unless default"))
    sizes: list[int] = field(default_factory=list, metadata=hashed("unless default"))
    workers: int = field(default=4, metadata=hashed("never"))
    train_images: int = field(default=0, metadata=hashed("never"))
    random_labels: bool = field(default=False, metadata=hashed("unless default"))
    options: dict[str, Any] = field(default_factory=dict, metadata=hashed("unless default"))

    def __post_init__(self) -> None:
        is_shape = len(self.shape) == 3 and all(size >= 1 for size in self.shape)
        require_value(is_shape, "dataset.shape", self.shape, "[channels, height, width]")
        require_value(self.classes >= 1, "dataset.classes", self.classes, "at least 1")
        require_value(0 <= self.split_seed < 2**32, "dataset.split_seed", self.split_seed, "in [0, 2^32)")
        require_value(0 < self.held_out < 1, "dataset.held_out", self.held_out, "in (0, 1)")
        require_choice("dataset.augmentation", self.augmentation, AUGMENTATIONS)
        require_value(self.translate_pixels >= 0, "dataset.translate_pixels", self.translate_pixels, "0 or more")
        require_value(all(s >= 1 for s in self.sizes), "dataset.sizes", self.sizes, "positive numbers of pixels")
        require_value(self.workers >= 0, "dataset.workers", self.workers, "0 or more")
        require_value(self.train_images >= 0, "dataset.train_images", self.train_images, "0 or more")


@dataclass(frozen=True)
class Model:
    """A model: its name, the pretrained weights that it starts from (empty: drawn weights), and its own options.

    `weights_hash` stands for the content of `weights` in the run's fingerprint. It is not a setting, and not in `config.yaml`.
    """

    name: str
    weights: str = field(default="", metadata=hashed("unless default"))
    weights_hash: str = field(default="", metadata=hashed("never"))
    options: dict[str, Any] = field(default_factory=dict, metadata=hashed("always"))


@dataclass(frozen=True)
class Method:
    """A method: its name, what a run does before and after it, and its own options.

    Attributes:
        redraw: draw new weights after pruning, instead of training the weights that were scored.
        batch_size: training images in one saliency batch. Where the YAML does not say, as many as in a training batch.
        batches: how many saliency batches.
        trained: prune the trained reference, which is trained first if there is none yet.
        samples_per_class: if not 0, score with this many images of each class, instead of random images.
        classes: score with images of these classes only; empty: of all classes.
        ablation: shuffle the mask within each layer, draw the weights anew, or keep the lowest scores.
    """

    name: str
    redraw: bool = field(default=True, metadata=hashed("always"))
    batch_size: int = field(default=100, metadata=hashed("always"))
    batches: int = field(default=1, metadata=hashed("always"))
    trained: bool = field(default=False, metadata=hashed("unless default"))
    samples_per_class: int = field(default=0, metadata=hashed("unless default"))
    classes: list[int] = field(default_factory=list, metadata=hashed("unless default"))
    ablation: str = field(default="none", metadata=hashed("unless default", name="sanity"))
    options: dict[str, Any] = field(default_factory=dict, metadata=hashed("always"))

    def __post_init__(self) -> None:
        require_value(self.batch_size >= 1, "method.batch_size", self.batch_size, "at least 1")
        require_value(self.batches >= 1, "method.batches", self.batches, "at least 1")
        require_value(self.samples_per_class >= 0, "method.samples_per_class", self.samples_per_class, "0 or more")
        require_choice("method.ablation", self.ablation, ABLATIONS)
        require(
            not (self.classes and self.samples_per_class),
            "method.classes and method.samples_per_class both choose the images to score with: set one of them.",
        )


@dataclass(frozen=True)
class Init:
    """An initialiser: its name and its own options."""

    name: str
    options: dict[str, Any] = field(default_factory=dict, metadata=hashed("always"))


@dataclass(frozen=True)
class Schedule:
    """How a network is trained. All lengths are in iterations.

    `momentum` and `nesterov` belong to `sgd`, `milestones` and `decay` to `anneal=step`. With `train_error` each evaluation includes the
    training images. Only the loss that training minimises has `label_smoothing`: scores, limits and reported losses have none.
    """

    name: str = field(metadata=hashed("never"))
    iterations: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    milestones: list[int]
    decay: float
    evaluate_every: int
    checkpoint_every: int = field(metadata=hashed("never"))
    nesterov: bool = field(default=False, metadata=hashed("unless default", always_in="dense_schedule"))
    warmup: int = field(default=0, metadata=hashed("unless default", always_in="dense_schedule"))
    optimizer: str = field(default="sgd", metadata=hashed("unless default", always_in="dense_schedule"))
    train_error: bool = field(default=False, metadata=hashed("unless default", always_in="dense_schedule"))
    anneal: str = field(default="step", metadata=hashed("unless default"))
    label_smoothing: float = field(default=0.0, metadata=hashed("unless default"))

    def __post_init__(self) -> None:
        iterations = "0 (no training) or more"
        require_value(self.iterations >= 0, "schedule.iterations", self.iterations, iterations)
        for key in ("batch_size", "evaluate_every", "checkpoint_every"):
            require_value(getattr(self, key) >= 1, f"schedule.{key}", getattr(self, key), "at least 1")
        is_positive = 0 < self.learning_rate < math.inf
        require_value(is_positive, "schedule.learning_rate", self.learning_rate, "positive and finite")
        require_choice("schedule.optimizer", self.optimizer, OPTIMIZERS)
        require_choice("schedule.anneal", self.anneal, ANNEALS)
        require(
            self.optimizer == "sgd" or self.momentum == 0,
            f"schedule.momentum must be 0 with schedule.optimizer={self.optimizer}: got {self.momentum}. "
            "Set schedule.momentum=0, and schedule.learning_rate to about 0.001.",
        )
        require_value(0 <= self.momentum < 1, "schedule.momentum", self.momentum, "in [0, 1)")
        require_value(0 <= self.weight_decay < math.inf, "schedule.weight_decay", self.weight_decay, "0 or more")
        require_value(0 < self.decay <= 1, "schedule.decay", self.decay, "in (0, 1]")
        require(
            self.momentum > 0 or not self.nesterov,
            "schedule.nesterov=true needs schedule.momentum above 0: set both.",
        )
        smoothing = "in [0, 1)"
        require_value(0 <= self.label_smoothing < 1, "schedule.label_smoothing", self.label_smoothing, smoothing)
        require_value(self.warmup >= 0, "schedule.warmup", self.warmup, "0 or more iterations")
        increasing = all(a < b for a, b in zip([0, *self.milestones], self.milestones, strict=False))
        require_value(increasing, "schedule.milestones", self.milestones, "positive and increasing")

    def rate_at(self, iteration: int) -> float:
        """Return the learning rate of an iteration, counted from 0.

        The rate is multiplied by `decay` at each milestone, or falls to 0 at the end along a cosine or a line, which begins after the
        warm-up. In the first `warmup` iterations the rate rises in equal steps.
        """
        rate = self.learning_rate * self._share_at(iteration)
        return rate * min(1.0, (iteration + 1) / self.warmup) if self.warmup else rate

    def _share_at(self, iteration: int) -> float:
        """Return the share of the learning rate that is left at an iteration."""
        if self.anneal == "step":
            return float(self.decay ** sum(iteration >= milestone for milestone in self.milestones))
        done = max(0, iteration - self.warmup) / max(1, self.iterations - self.warmup)
        return 1 - done if self.anneal == "linear" else (1 + math.cos(math.pi * done)) / 2
