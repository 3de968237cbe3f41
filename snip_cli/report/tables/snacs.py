"""Our runs beside what is known of SNACS and MINT: a row per network, and a row per layer."""

import statistics
from collections.abc import Sequence

from snip_cli.report.published.snacs import PUBLISHED_LAYERS, PUBLISHED_SNACS, PublishedNetwork
from snip_cli.report.records import Record, Row, effective_sparsity
from snip_cli.runfolder.results import SeedResult

# Images that MINT's scripts retrain on: 300 epochs of CIFAR-10 (here of 45,000 training images), 100 of ImageNet (of 1,268,355).
FULL_IMAGES = {"vgg16": 300 * 45_000, "resnet56": 300 * 45_000, "resnet50": 100 * 1_268_355}

# Columns.
REMOVED, EFFECTIVE, LAST, LOWEST, SIZE = (
    "weights removed (%)",
    "effective sparsity",
    "test error, last evaluation (%)",
    "test error, lowest of all evaluations (%)",
    "size, sparse (MiB)",
)


def beside_published(records: Sequence[Record]) -> list[Row]:
    """Return rows of all known networks and of our runs of the same model and data set, by rising percentage of removed weights.

    Weights are those of convolutions and linear layers, without biases, as the authors count. The authors' code reports the lowest test
    error of all evaluations. The effective sparsity counts biases too, and counts what is on no path from input to output as removed. The
    size is that of the weights as compressed sparse matrices. Ours are means over the seeds; `n = 0 of 1` is an unfinished run, of which
    nothing is known.
    """
    rows: list[Row] = []
    for model, dataset in listed_networks():
        known = [_known(row) for row in PUBLISHED_SNACS if row.model == model]
        ours = [
            _ours(record)
            for record in records
            if (record.settings["model"], record.settings["dataset"]) == (model, dataset)
        ]
        rows += sorted([*known, *ours], key=lambda row: 100.0 if row[REMOVED] is None else row[REMOVED])
    return rows


def _known(row: PublishedNetwork) -> Row:
    return {
        "model": row.model,
        "dataset": row.dataset,
        "method": row.method,
        REMOVED: row.removed,
        EFFECTIVE: None,
        LAST: None,
        LOWEST: row.error,
        SIZE: row.megabytes,
        "source": row.source,
    }


def _ours(record: Record) -> Row:
    results, wanted = list(record.results.values()), len(record.wanted)
    of_wanted = f" of {wanted}" if len(results) < wanted else ""
    images = record.settings["schedule.iterations"] * record.settings["schedule.batch_size"]
    part = images / FULL_IMAGES[record.settings["model"]]
    short = "" if part > 0.999 else f", short: {100 * part:.2g} % of the full training"
    effective = effective_sparsity(results)
    return {
        "model": record.settings["model"],
        "dataset": record.settings["dataset"],
        "method": record.settings["method"],
        REMOVED: _mean([removed(result) for result in results]),
        EFFECTIVE: None if effective is None else round(effective, 4),
        LAST: _mean([result.test_error for result in results]),
        LOWEST: _mean([result.test_error_lowest_of_all for result in results]),
        SIZE: _mean([result.sparse_megabytes for result in results]),
        "source": f"ours, n = {len(results)}{of_wanted}{short}",
    }


def is_listed(record: Record) -> bool:
    """Return whether something is known of a run's network."""
    return (record.settings["model"], record.settings["dataset"]) in listed_networks()


def listed_networks() -> list[tuple[str, str]]:
    """Return model and data set of every network of which something is known."""
    return list(dict.fromkeys((row.model, row.dataset) for row in PUBLISHED_SNACS))


def removed(result: SeedResult) -> float | None:
    """Return the percentage of the weights that one seed's mask removes; None where a record of an earlier version has no counts."""
    if not result.weights_total or result.weights_kept is None:
        return None
    return 100 * (1 - result.weights_kept / result.weights_total)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 2) if known else None


def layers_beside_published(records: Sequence[Record]) -> list[Row]:
    """Return a row per layer of each known network: the percentage that is removed, published for weights, ours (first seed) with biases."""
    rows: list[Row] = []
    for model, published in PUBLISHED_LAYERS.items():
        dataset = next(row.dataset for row in PUBLISHED_SNACS if row.model == model)
        ours = [
            record
            for record in records
            if record.results and (record.settings["model"], record.settings["dataset"]) == (model, dataset)
        ]
        pruned = [record for record in ours if record.settings["method"] != "reference"]
        for place in range(len(published["SNACS"])):
            row: Row = {"model": model, "layer": place + 1, "name": None}
            row |= {
                f"{name}, published (% of weights removed)": percents[place] for name, percents in published.items()
            }
            for record in pruned:
                layer = record.results[min(record.results)].layers[place]
                row["name"] = layer.name
                row[f"{record.name} (% of parameters removed)"] = round(100 * (1 - layer.kept / layer.total), 2)
            rows.append(row)
    return rows
