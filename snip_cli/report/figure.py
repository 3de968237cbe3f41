"""Error against sparsity as a picture."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy

from snip_cli.errors import ConfigError
from snip_cli.report.lines import lines
from snip_cli.report.table import Cell
from snip_cli.sections import AUTO


def draw(cells: Sequence[Cell], path: Path) -> None:
    """Draw test error (mean, band of one sample standard deviation over seeds) against sparsity, a curve a method and model.

    The axis is stretched towards 100 %, where pruning is interesting: even steps are even factors of what is kept. Published numbers
    are crosses, beside runs of the same protocol. Raises ConfigError where nothing is finished or the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = lines(cells)
    if not drawn:
        raise ConfigError("There is nothing to draw: no run is finished.")
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for line in drawn:
        name = line_name(line)
        sparsity = [100 * cell.sparsity for cell in line]
        mean = [statistics.fmean(cell.errors) for cell in line]
        std = [statistics.stdev(cell.errors) if len(cell.errors) > 1 else 0.0 for cell in line]
        [curve] = axes.plot(sparsity, mean, marker="o", markersize=4, label=f"{name} ({seeds(line)})")
        low, high = [m - s for m, s in zip(mean, std, strict=True)], [m + s for m, s in zip(mean, std, strict=True)]
        axes.fill_between(sparsity, low, high, alpha=0.2, color=curve.get_color())
        crosses = [
            (100 * cell.sparsity, cell.published.error)
            for cell in line
            if cell.published and not cell.published.deviations(cell.settings)
        ]
        if crosses:
            axes.scatter(
                *zip(*crosses, strict=True), marker="x", color=curve.get_color(), label=f"{name}, published", zorder=3
            )
    axes.set_xscale("function", functions=(stretch, shrink))
    axes.set_xticks(ticks([cell for line in drawn for cell in line]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("sparsity (%)")
    axes.set_ylabel("test error (%)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be written ({error}): name a .png, .pdf or .svg file in a folder that exists."
        ) from error
    finally:
        pyplot.close(figure)


def ticks(cells: Sequence[Cell]) -> list[float]:
    """The sparsities that were asked for, in percent; where all were found by a method, those that were reached, to the nearest percent."""
    asked = sorted({100 * cell.settings["sparsity"] for cell in cells if cell.settings["sparsity"] != AUTO})
    return asked if len(asked) > 1 else sorted({round(100 * cell.sparsity) for cell in cells})


def stretch(sparsity: numpy.ndarray) -> numpy.ndarray:
    """Sparsity in percent → −log₁₀ of the fraction that is kept."""
    return -numpy.log10(numpy.clip(1 - numpy.asarray(sparsity) / 100, 1e-6, None))


def shrink(stretched: numpy.ndarray) -> numpy.ndarray:
    """The inverse of `stretch`."""
    return 100 * (1 - 10 ** -numpy.asarray(stretched))


def line_name(line: Sequence[Cell]) -> str:
    """What tells a line from the others, in words."""
    return ", ".join(str(value) for name, value in line[-1].key.items() if name != "sparsity" and value != "")


def seeds(line: Sequence[Cell]) -> str:
    """How many seeds stand behind a line's points."""
    counts = sorted({len(cell.errors) for cell in line})
    return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
