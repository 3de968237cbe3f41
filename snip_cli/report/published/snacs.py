"""What is known of the results of SNACS and of its predecessor MINT, by the same authors. None stands for what is not known.

The source is not the SNACS paper: the sizes are those of the checkpoints that the authors' code names. The only known accuracy is that of
the VGG16 that they prune. The other rows are the tables of MINT's repository.
"""

from dataclasses import dataclass

CHECKPOINTS, REPOSITORY = "checkpoint in SNACS's repository", "table in MINT's repository"
BASELINE = "text of SNACS's repository"


@dataclass(frozen=True)
class PublishedNetwork:
    """One published network: percentage of convolution and linear weights that is removed, test error in percent, and size in MiB as
    compressed sparse matrices."""

    model: str
    dataset: str
    method: str
    removed: float
    error: float | None
    megabytes: float | None
    source: str


def _checkpoints(model: str, dataset: str, *removed: tuple[str, float]) -> list[PublishedNetwork]:
    return [PublishedNetwork(model, dataset, method, percent, None, None, CHECKPOINTS) for method, percent in removed]


def _table(model: str, dataset: str, *rows: tuple[str, float, float, float | None]) -> list[PublishedNetwork]:
    """Return networks from (method, percentage removed, accuracy in percent, MiB)."""
    return [
        PublishedNetwork(model, dataset, method, removed, round(100 - accuracy, 2), megabytes, REPOSITORY)
        for method, removed, accuracy, megabytes in rows
    ]


PUBLISHED_SNACS = [
    *_table(
        "vgg16",
        "cifar10",
        ("reference", 0.0, 93.98, 53.868),
        ("Pruning Filters", 64.00, 93.40, None),
        ("SSS", 66.70, 93.63, None),
        ("SSS", 73.80, 93.02, None),
        ("GAL-0.05", 77.60, 93.77, None),
        ("GAL", 82.20, 93.42, None),
        ("MINT", 83.46, 93.43, 9.020),
    ),
    PublishedNetwork("vgg16", "cifar10", "reference", 0.0, 6.06, None, BASELINE),
    *_checkpoints(
        "vgg16",
        "cifar10",
        ("SNACS, early, other runs", 76.14),
        ("SNACS, early, other runs", 76.99),
        ("SNACS, early, other runs", 82.60),
        ("SNACS, early, without sensitivity", 84.46),
        ("SNACS, early", 85.04),
        ("SNACS", 96.16),
    ),
    *_table(
        "resnet56",
        "cifar10",
        ("reference", 0.0, 92.55, 3.109),
        ("GAL", 11.80, 93.38, None),
        ("Pruning Filters", 13.70, 93.06, None),
        ("OED", 43.50, 93.29, None),
        ("NISP", 43.68, 93.01, None),
        ("MINT", 52.41, 93.47, 1.552),
        ("MINT", 57.01, 93.02, 1.461),
    ),
    *_checkpoints(
        "resnet56",
        "cifar10",
        ("SNACS, early, other runs", 57.01),
        ("SNACS, early", 62.97),
        ("SNACS", 68.60),
        ("SNACS", 68.97),
        ("iSNACS", 65.68),
        ("iSNACS", 67.17),
        ("iSNACS", 70.69),
    ),
    *_table(
        "resnet50",
        "ilsvrc2012",
        ("reference", 0.0, 76.13, 91.157),
        ("GAL", 16.86, 71.95, None),
        ("OED", 25.68, 73.55, None),
        ("SSS", 27.05, 74.18, None),
        ("NISP", 43.82, 71.99, None),
        ("ThiNet", 51.45, 71.01, None),
        ("MINT", 43.01, 71.50, 52.365),
        ("MINT", 49.00, 71.12, 47.513),
        ("MINT", 49.62, 71.05, 46.925),
    ),
    *_checkpoints(
        "resnet50",
        "ilsvrc2012",
        ("SNACS, early", 51.95),
        ("SNACS", 46.32),
        ("SNACS", 50.41),
        ("SNACS", 55.11),
        ("SNACS", 59.61),
        ("SNACS", 64.26),
        ("SNACS", 68.81),
    ),
]


def _percents(text: str) -> list[float]:
    return [float(word) for word in text.split()]


# Percentage of each layer's weights that the early version removes, in the order of the layers, from the code of the authors' figures.
PUBLISHED_LAYERS: dict[str, dict[str, list[float]]] = {
    "vgg16": {
        "SNACS": _percents("0 0 0 21.04 51.04 71.04 86.05 87.25 91.04 96.04 91.04 91.04 66.04 93.35 0.15"),
        "MINT": _percents("0 0 0 0 67.08 51.8 58.39 61.18 89.91 93.72 92.04 86.25 91.01 93.28 0"),
    },
    "resnet56": {
        "SNACS": _percents(
            "0 0.39 0.39 0.39 51.56 11.32 0.39 0.39 16.4 16.4 11.32 6.25 21.48 6.25 26.56 41.4 51.56 0.39 26.56 "
            "11.32 36.13 51.07 36.13 66.11 41.11 26.07 76.07 31.15 46.09 16.11 26.07 26.07 21.09 6.15 46.09 11.13 "
            "26.07 41.11 76.07 46.04 91.04 56.05 81.05 11.05 86.05 36.06 86.05 31.05 91.04 91.04 96.04 96.04 "
            "96.04 96.04 96.04 0.15"
        ),
    },
    "resnet50": {
        "SNACS": _percents(
            "0 0 0 0 0 0 11.2 0.02 0.02 0.02 0.02 16.04 6.05 16.04 21.04 26.04 6.05 16.04 26.04 16.04 26.04 21.04 "
            "0.02 6.05 26.04 56.05 36.05 36.05 51.04 41.04 41.04 41.04 21.04 36.05 51.04 21.04 16.04 61.05 36.05 "
            "16.04 46.04 41.04 21.04 46.04 66.04 88.28 61.05 41.04 46.04 95.6 66.04 96.04 96.04 0"
        ),
    },
}
