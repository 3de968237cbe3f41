"""The papers' numbers, as printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A published test error in percent, where it stands, and the settings that it was (or is taken to be) measured with."""

    error: float
    source: str
    protocol: Mapping[str, Any]

    def deviations(self, settings: Mapping[str, Any]) -> list[str]:
        """Which of a run's settings are not the protocol's, as `schedule.iterations=300`."""
        return [f"{name}={settings[name]}" for name, value in self.protocol.items() if settings.get(name) != value]


TABLE_1 = "Table 1, Lee et al. 2019"
# The paper states no number of iterations for MNIST; 100,000 is this project's choice (configs/schedule/lenet.yaml).
LENET = {
    "schedule.iterations": 100_000,
    "schedule.batch_size": 100,
    "schedule.learning_rate": 0.1,
    "schedule.momentum": 0.9,
    "schedule.weight_decay": 0.0005,
}

# (method, model, data set, sparsity) → what was published. The reference stands at sparsity 0.
PUBLISHED = {
    ("reference", "lenet_300_100", "mnist", 0.0): Published(1.7, TABLE_1, LENET),
    ("snip", "lenet_300_100", "mnist", 0.95): Published(1.6, TABLE_1, LENET),
    ("snip", "lenet_300_100", "mnist", 0.98): Published(2.4, TABLE_1, LENET),
    ("reference", "lenet_5_caffe", "mnist", 0.0): Published(0.9, TABLE_1, LENET),
    ("snip", "lenet_5_caffe", "mnist", 0.98): Published(0.8, TABLE_1, LENET),
    ("snip", "lenet_5_caffe", "mnist", 0.99): Published(1.1, TABLE_1, LENET),
}
