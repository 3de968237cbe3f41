"""The numbers of Lee et al. (2019), as printed, and of the methods that the paper quotes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snip_cli.report.published.protocols import ADAM, CIFAR, LENET, LENET_5


@dataclass(frozen=True)
class Published:
    """A published test error in percent.

    Attributes:
        source: the table or figure that prints it.
        where: the settings that a run must have to be compared with it.
        protocol: the settings that it was, or is assumed to be, measured with; a run that differs in them is marked.
        std: the ± that is printed beside it.
        seeds: over how many seeds it is, or is assumed to be, the mean.
        quoted: whether the paper quotes it from another.
        decimals: how many decimals are printed.
    """

    error: float
    source: str
    where: Mapping[str, Any]
    protocol: Mapping[str, Any] = field(default_factory=dict)
    std: float | None = None
    seeds: int = 1
    quoted: bool = False
    decimals: int = 2

    def is_of(self, settings: Mapping[str, Any]) -> bool:
        """Return whether a run with these settings is compared with this number. All numbers are for true labels, none for shuffled ones."""
        return not settings.get("dataset.random_labels") and all(
            settings.get(name) == value for name, value in self.where.items()
        )

    def deviations(self, settings: Mapping[str, Any]) -> list[str]:
        """Return the run's settings that are not the protocol's, as `schedule.iterations=300`; a setting that a run lacks does not count."""
        return [
            f"{name}={settings[name]}" for name, value in self.protocol.items() if settings.get(name, value) != value
        ]

    def verdict(self, mean: float, std: float | None) -> str:
        """Return whether our mean is `inside` the paper's ±, or by how much it is outside.

        Without a printed ±, return whether the printed number is inside our mean ± sample standard deviation, or nothing for one seed
        (`std` None). A difference that rounding to the printed decimals may hide counts as inside.
        """
        difference, hidden = mean - self.error, 0.5 * 10**-self.decimals
        if self.std is not None:
            beyond = round(abs(difference) - self.std, 9)
            return "inside" if beyond <= hidden else f"outside by {math.copysign(beyond, difference):+.2f}"
        if std is None:
            return ""
        return f"paper {'inside' if round(abs(difference) - std, 9) <= hidden else 'outside'} our ±"


TABLE_1, TABLE_2, TABLE_3, FIGURE_3 = (
    f"{name}, Lee et al. 2019" for name in ("Table 1", "Table 2", "Table 3", "Figure 3")
)
# Figure 1 and Table 3 are over 20 seeds. The paper does not say how many Table 1, Figure 3 and Table 2 have; 20 are assumed for the first two.
SEEDS = 20


# Quoted methods that train on the schedule of SNIP in scripts/table1; the others have one of their own.
IN_ROUNDS = ("lwc", "obd", "l_obs")


def row(method: str, model: str, dataset: str, sparsity: float) -> dict[str, Any]:
    """Return the settings that every cell has."""
    return {"method": method, "model": model, "dataset": dataset, "sparsity": sparsity}


def table_1(model: str, *errors: tuple[str, float, float]) -> list[Published]:
    """Return the numbers of one network from (method, sparsity, error); the paper quotes those of the seven other methods."""
    protocol = LENET_5 if model == "lenet_5_caffe" else LENET
    # Each quoted paper has a protocol of its own. Of the methods that run on the schedule of the other rows here, a shorter one is marked.
    length = {"schedule.iterations": LENET["schedule.iterations"]}
    return [
        Published(error, TABLE_1, row(method, model, "mnist", sparsity), protocol, seeds=SEEDS, decimals=1)
        if method in ("reference", "snip")
        else Published(
            error, TABLE_1, row(method, model, "mnist", sparsity), length if method in IN_ROUNDS else {}, quoted=True
        )
        for method, sparsity, error in errors
    ]


def table_2(
    model: str, dataset: str, sparsity: float, errors: tuple[float, float], protocol: Mapping[str, Any]
) -> list[Published]:
    """Return a row of Table 2: the errors of the reference and of the network pruned by SNIP."""
    return [
        Published(errors[0], TABLE_2, row("reference", model, dataset, 0.0), protocol),
        Published(errors[1], TABLE_2, row("snip", model, dataset, sparsity), protocol),
    ]


def table_3(init: str, *errors: tuple[float, float]) -> list[Published]:
    """Return a row of Table 3 from the (error, ±) of four networks that are pruned at weights drawn by `init`."""
    models = ("lenet_300_100", "lenet_5_caffe", "lstm_s", "gru_s")
    own = {"init.name": init, "schedule.optimizer": "adam"}
    return [
        Published(error, TABLE_3, row("snip", model, "mnist", 0.9) | own, ADAM, std=std, seeds=SEEDS)
        for model, (error, std) in zip(models, errors, strict=True)
    ]


def figure_3(batch_size: int, error: float) -> Published:
    """Return the error with one size of the saliency batch, read from the figure of the paper's first version; the text does not state it."""
    where = row("snip", "lenet_300_100", "mnist", 0.9) | {"method.batch_size": batch_size, "schedule.optimizer": "sgd"}
    protocol = {name: value for name, value in LENET.items() if name not in where}
    return Published(error, FIGURE_3, where, protocol, seeds=SEEDS)


# In the order of the tables. The reference has sparsity 0.
PUBLISHED: list[Published] = [
    *table_1(
        "lenet_300_100",
        *(("reference", 0.0, 1.7), ("lwc", 0.917, 1.6), ("dns", 0.982, 2.0), ("lc", 0.99, 3.2), ("sws", 0.956, 1.9)),
        *(
            ("sparse_vd", 0.985, 1.9),
            ("obd", 0.92, 2.0),
            ("l_obs", 0.985, 2.0),
            ("snip", 0.95, 1.6),
            ("snip", 0.98, 2.4),
        ),
    ),
    *table_1(
        "lenet_5_caffe",
        *(("reference", 0.0, 0.9), ("lwc", 0.917, 0.8), ("dns", 0.991, 0.9), ("lc", 0.99, 1.1), ("sws", 0.995, 1.0)),
        *(
            ("sparse_vd", 0.996, 0.8),
            ("obd", 0.92, 2.7),
            ("l_obs", 0.99, 2.1),
            ("snip", 0.98, 0.8),
            ("snip", 0.99, 1.1),
        ),
    ),
    *table_2("alexnet_s", "cifar10", 0.9, (14.12, 14.99), CIFAR),
    *table_2("alexnet_b", "cifar10", 0.9, (13.92, 14.50), CIFAR),
    *table_2("vgg_c", "cifar10", 0.95, (6.82, 7.27), CIFAR),
    *table_2("vgg_d", "cifar10", 0.95, (6.76, 7.09), CIFAR),
    *table_2("vgg_like", "cifar10", 0.97, (8.26, 8.00), CIFAR),
    *table_2("wrn_16_8", "cifar10", 0.95, (6.21, 6.63), CIFAR),
    *table_2("wrn_16_10", "cifar10", 0.95, (5.91, 6.43), CIFAR),
    *table_2("wrn_22_8", "cifar10", 0.95, (6.14, 5.85), CIFAR),
    *table_2("lstm_s", "mnist", 0.95, (1.88, 1.57), LENET),
    *table_2("lstm_b", "mnist", 0.95, (1.15, 1.35), LENET),
    *table_2("gru_s", "mnist", 0.95, (1.87, 2.41), LENET),
    *table_2("gru_b", "mnist", 0.95, (1.71, 1.52), LENET),
    *table_3("rn", (1.90, 0.09), (0.89, 0.04), (2.93, 0.20), (47.61, 20.49)),
    *table_3("tn", (1.96, 0.11), (0.87, 0.05), (3.03, 0.17), (46.48, 22.25)),
    *table_3("vs_x", (1.91, 0.10), (0.88, 0.07), (1.48, 0.09), (1.80, 0.10)),
    *table_3("vs_h", (1.88, 0.10), (0.85, 0.05), (1.47, 0.08), (1.80, 0.14)),
    *(figure_3(size, error) for size, error in ((1, 1.94), (10, 1.72), (100, 1.64), (1000, 1.56), (10000, 1.40))),
]
