"""The papers' numbers, as printed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published test error in percent, and where it stands."""

    error: float
    source: str


TABLE_1 = "Table 1, Lee et al. 2019"

# (method, model, data set, sparsity) → what was published. The reference stands at sparsity 0.
PUBLISHED = {
    ("reference", "lenet_300_100", "mnist", 0.0): Published(1.7, TABLE_1),
    ("snip", "lenet_300_100", "mnist", 0.95): Published(1.6, TABLE_1),
    ("snip", "lenet_300_100", "mnist", 0.98): Published(2.4, TABLE_1),
    ("reference", "lenet_5_caffe", "mnist", 0.0): Published(0.9, TABLE_1),
    ("snip", "lenet_5_caffe", "mnist", 0.98): Published(0.8, TABLE_1),
    ("snip", "lenet_5_caffe", "mnist", 0.99): Published(1.1, TABLE_1),
}
