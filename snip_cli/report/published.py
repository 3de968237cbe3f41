"""The papers' numbers, as printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# (method, model, data set, sparsity)
Key = tuple[str, str, str, float]


@dataclass(frozen=True)
class Published:
    """A published test error in percent, where it stands, and the settings that it was (or is taken to be) measured with."""

    error: float
    source: str
    protocol: Mapping[str, Any]

    def deviations(self, settings: Mapping[str, Any]) -> list[str]:
        """Which of a run's settings are not the protocol's, as `schedule.iterations=300`; one that a run does not have cannot differ."""
        return [
            f"{name}={settings[name]}" for name, value in self.protocol.items() if settings.get(name, value) != value
        ]


TABLE_1, TABLE_2 = "Table 1, Lee et al. 2019", "Table 2, Lee et al. 2019"
SNIP = {
    "schedule.learning_rate": 0.1,
    "schedule.momentum": 0.9,
    "schedule.nesterov": False,
    "schedule.weight_decay": 0.0005,
    "schedule.warmup": 0,
    "schedule.decay": 0.1,
    "dataset.held_out": 0.1,
    "model.weights": "",
    "model.gate_bias": 1.0,
    "init.name": "vs_x",
    "init_train.name": "vs_x",
    "method.redraw": True,
    "method.batches": 1,
    "dtype": "float32",
}
# The paper states no number of iterations for MNIST; 100,000 is this project's choice (configs/schedule/lenet.yaml).
LENET = SNIP | {
    "schedule.iterations": 100_000,
    "schedule.batch_size": 100,
    "schedule.milestones": [25_000, 50_000, 75_000],
    "method.batch_size": 100,
}
# The number of iterations for CIFAR-10 is that of the released code's README.
CIFAR = SNIP | {
    "schedule.iterations": 150_000,
    "schedule.batch_size": 128,
    "schedule.milestones": [30_000, 60_000, 90_000, 120_000],
    "method.batch_size": 128,
    "dataset.augmentation": "flip_translate",
    "dataset.translate_pixels": 4,
}


def reference_and_pruned(
    model: str, dataset: str, sparsity: float, errors: tuple[float, float], protocol: Mapping[str, Any]
) -> dict[Key, Published]:
    """A row of Table 2: the errors of the reference and of the network pruned by SNIP."""
    reference, pruned = (Published(error, TABLE_2, protocol) for error in errors)
    return {("reference", model, dataset, 0.0): reference, ("snip", model, dataset, sparsity): pruned}


# What was published. The reference stands at sparsity 0.
PUBLISHED: dict[Key, Published] = {
    ("reference", "lenet_300_100", "mnist", 0.0): Published(1.7, TABLE_1, LENET),
    ("snip", "lenet_300_100", "mnist", 0.95): Published(1.6, TABLE_1, LENET),
    ("snip", "lenet_300_100", "mnist", 0.98): Published(2.4, TABLE_1, LENET),
    ("reference", "lenet_5_caffe", "mnist", 0.0): Published(0.9, TABLE_1, LENET),
    ("snip", "lenet_5_caffe", "mnist", 0.98): Published(0.8, TABLE_1, LENET),
    ("snip", "lenet_5_caffe", "mnist", 0.99): Published(1.1, TABLE_1, LENET),
    **reference_and_pruned("alexnet_s", "cifar10", 0.9, (14.12, 14.99), CIFAR),
    **reference_and_pruned("alexnet_b", "cifar10", 0.9, (13.92, 14.50), CIFAR),
    **reference_and_pruned("vgg_c", "cifar10", 0.95, (6.82, 7.27), CIFAR),
    **reference_and_pruned("vgg_d", "cifar10", 0.95, (6.76, 7.09), CIFAR),
    **reference_and_pruned("vgg_like", "cifar10", 0.97, (8.26, 8.00), CIFAR),
    **reference_and_pruned("wrn_16_8", "cifar10", 0.95, (6.21, 6.63), CIFAR),
    **reference_and_pruned("wrn_16_10", "cifar10", 0.95, (5.91, 6.43), CIFAR),
    **reference_and_pruned("wrn_22_8", "cifar10", 0.95, (6.14, 5.85), CIFAR),
    **reference_and_pruned("lstm_s", "mnist", 0.95, (1.88, 1.57), LENET),
    **reference_and_pruned("lstm_b", "mnist", 0.95, (1.15, 1.35), LENET),
    **reference_and_pruned("gru_s", "mnist", 0.95, (1.87, 2.41), LENET),
    **reference_and_pruned("gru_b", "mnist", 0.95, (1.71, 1.52), LENET),
}
