"""How the papers train: the settings behind their numbers, and how long a full training is."""

from collections.abc import Mapping
from typing import Any

SNIP = {
    "schedule.optimizer": "sgd",
    "schedule.learning_rate": 0.1,
    "schedule.momentum": 0.9,
    "schedule.nesterov": False,
    "schedule.weight_decay": 0.0005,
    "schedule.warmup": 0,
    "schedule.decay": 0.1,
    "dataset.held_out": 0.1,
    "dataset.split_seed": 9,
    "model.weights": "",
    "model.gate_bias": 1.0,
    "init.name": "vs_x",
    "init.std": 1.0,
    "model.conv_relu": True,
    "init_train.name": "vs_x",
    "method.redraw": True,
    "method.batches": 1,
    "method.classes": [],
    "method.ablation": "none",
    "dtype": "float32",
}
# The paper states no number of iterations for MNIST; 100,000 is this project's choice (configs/schedule/lenet.yaml).
LENET = SNIP | {
    "schedule.iterations": 100_000,
    "schedule.batch_size": 100,
    "schedule.milestones": [25_000, 50_000, 75_000],
    "method.batch_size": 100,
    "dataset.augmentation": "none",
}
# Of LeNet-5-Caffe with a warm-up or without (scripts/table1).
LENET_5 = {name: value for name, value in LENET.items() if name != "schedule.warmup"}
# The number of iterations for CIFAR-10 is that of the released code's README.
CIFAR = SNIP | {
    "schedule.iterations": 150_000,
    "schedule.batch_size": 128,
    "schedule.milestones": [30_000, 60_000, 90_000, 120_000],
    "method.batch_size": 128,
    "dataset.augmentation": "flip_translate",
    "dataset.translate_pixels": 4,
}
# Table 3's: Adam at a constant rate, and an initialiser that is the cell's own. 20,000 iterations are this project's choice.
SGD_ALONE = ("schedule.optimizer", "schedule.momentum", "schedule.nesterov", "schedule.decay")
ADAM = {
    **{name: value for name, value in LENET.items() if name not in (*SGD_ALONE, "init.name")},
    "schedule.learning_rate": 0.001,
    "schedule.weight_decay": 0.0,
    "schedule.milestones": [],
    "schedule.iterations": 20_000,
}
# Figure 4's, this project's choice (scripts/figure4).
FIGURE_4 = LENET | {"schedule.learning_rate": 0.01, "schedule.iterations": 25_000}
ONE_CHANNEL = ("mnist", "fashion_mnist")
PROTOCOLS = (
    *((ONE_CHANNEL, protocol) for protocol in (LENET, ADAM | {"schedule.optimizer": "adam"}, FIGURE_4)),
    (("cifar10",), CIFAR),
)
# As the paper comes to them.
DATASETS = tuple(dict.fromkeys(name for datasets, _ in PROTOCOLS for name in datasets))
KNOWN_BY = ("schedule.optimizer", "schedule.learning_rate", "schedule.milestones")


def full_iterations(settings: Mapping[str, Any]) -> int:
    """How many iterations a run with these settings has in the paper, or by this project's choice; 0 where no protocol is its.

    A run is known by its data set and by what it was trained with.
    """
    for datasets, protocol in PROTOCOLS:
        if settings["dataset"] in datasets and all(settings.get(name) == protocol[name] for name in KNOWN_BY):
            return protocol["schedule.iterations"]
    return 0
