"""The upper limit that SNACS finds for each layer of one run: as a table, as CSV and as a picture, beside the authors' numbers."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from snip_cli.errors import ConfigError
from snip_cli.report.published.snacs import PUBLISHED_LAYERS
from snip_cli.report.tables.latex import as_latex
from snip_cli.runfolder.forms import read_as
from snip_cli.runfolder.record import is_run, read_findings, read_run
from snip_cli.runtime.files import damaged


@dataclass(frozen=True)
class Limit:
    """One layer's upper limit, as `pruning.json` holds it; all numbers are fractions.

    Attributes:
        limit: how much of the layer's connections may be removed at most.
        bound_by: what set the limit.
        unpruned: the probe's accuracy with the whole layer.
        grid: fractions that were removed on trial, rising.
        accuracy: the probe's accuracy at each of them.
    """

    name: str
    limit: float
    bound_by: str
    unpruned: float
    grid: Sequence[float]
    accuracy: Sequence[float]


def read_limits(folder: Path) -> tuple[list[Limit], str]:
    """Return the limits of a run's first seed, and its model. Raises ConfigError where it has none."""
    if not is_run(folder):
        raise ConfigError(f"{folder} is not a run's folder: name the folder of one run with method=snacs.")
    config = read_run(folder).config
    layers = read_findings(folder).get(str(config.seed), {}).get("layers", {})
    try:
        limits = [read_as(Limit, layer) for layer in layers.values() if "grid" in layer]
    except ValueError as error:
        raise damaged(folder / "pruning.json", error) from error
    if not limits:
        raise ConfigError(
            f"{folder} has no pruning.json with limits: name the folder of a run with method=snacs, as snip-run wrote it."
        )
    return limits, config.model.name


def limits_table(limits: Sequence[Limit], model: str, style: str = "simple") -> str:
    """Return a table with a row per layer: its limit, what set it, the probe's accuracy, and the authors' number where there is one.

    `style` is a format of tabulate.
    """
    rows = [
        {
            "layer": limit.name,
            "limit (%)": f"{100 * limit.limit:.1f}",
            "set by": limit.bound_by,
            "authors' code (%)": "" if listed is None else f"{listed:g}",
            "accuracy, unpruned (%)": f"{100 * limit.unpruned:.1f}",
            "highest, pruned (%)": f"{100 * max(limit.accuracy):.1f}",
            "lowest, pruned (%)": f"{100 * min(limit.accuracy):.1f}",
        }
        for limit, listed in zip(limits, listed_for(limits, model), strict=True)
    ]
    if style.startswith("latex"):
        return as_latex(rows, f"Upper limits of the layers of {model}.", [])
    return tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True)


def limits_csv(limits: Sequence[Limit], model: str) -> str:
    """Return the table as CSV with every accuracy of the sweep, in full: fractions, but `listed`, the authors' number, is in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    grid = [f"accuracy at {fraction:g}" for fraction in limits[0].grid]
    writer.writerow(["layer", "limit", "bound_by", "listed", "unpruned", *grid])
    for limit, listed in zip(limits, listed_for(limits, model), strict=True):
        writer.writerow(
            [limit.name, limit.limit, limit.bound_by, "" if listed is None else listed, limit.unpruned, *limit.accuracy]
        )
    return text.getvalue()


def draw_limits(limits: Sequence[Limit], model: str, path: Path) -> None:
    """Draw every layer's accuracy over the sweep as a column, from its lowest (dark) to its highest (bright), with its limit on it.

    Raises ConfigError where the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(max(6.0, 0.22 * len(limits) + 3.0), 4.5), layout="constrained")
    percent = [100 * fraction for fraction in limits[0].grid]
    columns = [relative(limit.accuracy) for limit in limits]
    places = range(len(limits))
    image = axes.pcolormesh(places, percent, list(zip(*columns, strict=True)), shading="nearest", cmap="viridis")
    axes.plot(
        places,
        [100 * limit.limit for limit in limits],
        "o-",
        color="white",
        markeredgecolor="black",
        label="upper limit",
    )
    listed = [(place, value) for place, value in enumerate(listed_for(limits, model)) if value is not None]
    if listed:
        axes.plot(*zip(*listed, strict=True), "x", color="red", label="pruned in the authors' code")
    axes.set_xticks(places, [limit.name for limit in limits], rotation=90, fontsize="small" if len(limits) < 30 else 5)
    axes.set_ylabel("connections pruned (%)")
    axes.set_ylim(0, 100)
    figure.colorbar(image, label="accuracy of the probe,\nfrom its lowest (0) to its highest (1)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be written ({error}): name a .png file in a folder that exists.") from error
    finally:
        pyplot.close(figure)


def listed_for(limits: Sequence[Limit], model: str) -> Sequence[float | None]:
    """Return the authors' number for each layer, or None for each where they list none for this network."""
    listed = PUBLISHED_LAYERS.get(model, {}).get("SNACS", [])[1:]  # the first layer has no layer before it, so no limit
    return listed if len(listed) == len(limits) else [None] * len(limits)


def relative(accuracy: Sequence[float]) -> list[float]:
    """Return accuracies scaled to [0, 1]; all 1 where they are equal."""
    low, span = min(accuracy), max(accuracy) - min(accuracy)
    return [(value - low) / span if span else 1.0 for value in accuracy]
