"""Error against sparsity: as a picture, and as curves that TensorBoard draws."""

import hashlib
import logging
import re
import statistics
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from snip_cli.errors import ConfigError, RunError
from snip_cli.report.captions import common_and_own, extent, span, without
from snip_cli.report.cells import Cell, cells, lines
from snip_cli.report.figures.axes import LINES, MARKERS, Look, Mean, draw_references, on_axis, scale_axes
from snip_cli.report.figures.drawing import Drawing
from snip_cli.report.figures.legends import place_legend
from snip_cli.report.figures.styles import deviation, style_of, warn_of_repeats
from snip_cli.report.names import short_names
from snip_cli.report.records import read_folders
from snip_cli.report.selection import is_untrained
from snip_cli.report.tables.errors import rows
from snip_cli.runtime.locks import hold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger("snip_cli")

TAG = "error_against_sparsity"
STEPS = 10_000  # TensorBoard's axis has whole numbers: step = sparsity × 10,000
LONGEST_NAME = 200  # bytes of a curve's folder; file systems allow 255


def draw_errors(found: Sequence[Cell], look: Look | None = None) -> Drawing:
    """Draw test error (mean, with a band of one sample standard deviation over seeds) against sparsity, a curve per method and model.

    The axis is logarithmic in the fraction that is kept, because pruning is interesting near 100 %, or a logit axis. References are
    lines across it. Means over seeds that learned nothing do not stretch the axis of errors far. Published numbers are crosses beside runs of the same
    protocol. Raises ConfigError where nothing is finished.
    """
    from matplotlib.figure import Figure

    drawn = lines(found)
    if not drawn:
        raise ConfigError("There is nothing to draw: no run is finished.")
    keys = [without(line[-1].key, "sparsity") for line in drawn]
    common, names = common_and_own(keys)[0], short_names(keys)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    look = look or Look()
    warn_of_repeats(len(drawn))
    shown = on_axis(drawn, look)
    for number, (line, name) in enumerate(zip(shown, names, strict=True)):
        if line:
            draw_line(axes, line, name or common, number, bars=look.bars)
    colours = [f"C{style_of(number).colour}" for number in range(len(drawn))]
    references = draw_references(axes, drawn, colours)
    everything = [cell for line in drawn for cell in line]
    axes.set_title(f"{common} ({extent(everything)})" if common else extent(everything), fontsize="medium")
    means = [
        Mean(cell, 100 * cell.sparsity, colour) for line, colour in zip(shown, colours, strict=True) for cell in line
    ]
    scale_axes(axes, means, look, references)
    axes.grid(alpha=0.3)
    place_legend(figure, axes.get_legend_handles_labels()[0], inside=axes)
    return Drawing(figure, rows([cell for cell in found if cell.errors]))


def draw_line(axes: "Axes", line: Sequence[Cell], name: str, number: int, *, bars: bool) -> None:
    """Draw one curve in the look of its `number` with its band or bars, and crosses where numbers are published for its protocol."""
    sparsity = [100 * cell.sparsity for cell in line]
    mean = [statistics.fmean(cell.errors) for cell in line]
    std = [deviation(cell) for cell in line]
    n = span(sorted({len(cell.errors) for cell in line}))
    style = style_of(number)
    colour, dash, marker = f"C{style.colour}", LINES[style.dash], MARKERS[style.dash]
    label = f"{name} (n = {n})"
    axes.plot(sparsity, mean, color=colour, linestyle=dash, marker=marker, markersize=4, label=label)
    low = [max(m - s, 0.0) for m, s in zip(mean, std, strict=True)]
    high = [min(m + s, 100.0) for m, s in zip(mean, std, strict=True)]
    if bars:
        lengths = [
            [m - end for m, end in zip(mean, low, strict=True)],
            [end - m for m, end in zip(mean, high, strict=True)],
        ]
        axes.errorbar(sparsity, mean, lengths, fmt="none", ecolor=colour, capsize=3)
    else:
        axes.fill_between(sparsity, low, high, alpha=0.2, color=colour)
    crosses = [
        (100 * cell.sparsity, cell.published.error)
        for cell in line
        if cell.published and not cell.published.deviations(cell.settings)
    ]
    if crosses:
        axes.scatter(*zip(*crosses, strict=True), marker="x", color=colour, label=f"{name}, published", zorder=3)


def write_curves(output_dir: Path) -> list[Path]:
    """Write the curves of all runs in `output_dir` for TensorBoard, and return their folders: one per method and model, below `curves`.

    Step = reached sparsity × 10,000, value = mean test error in percent over the seeds. Every method's curve starts at the reference of
    its own model, data set and schedule. Runs that trained nothing are on no curve. A curve that cannot be written is left out with a warning.
    """
    from snip_cli.runfolder.events import EventFile  # takes a while to import, and a table does not need it

    folder = output_dir / "curves"
    found = curves_of(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with hold(output_dir / ".curves.lock", f"writing the curves in {folder}"):
        for old in folder.glob("*/events.out.tfevents.*"):
            old.unlink(missing_ok=True)
        for name, line in found.items():
            curve = folder / name
            try:
                file = EventFile(curve)
                for cell in line:
                    file.scalar(TAG, statistics.fmean(cell.errors), round(cell.sparsity * STEPS))
                file.close()
            except RunError as error:
                log.warning("a curve for TensorBoard is left out: %s", error)
            else:
                written.append(curve)
        for empty in [*folder.glob("*"), folder]:  # of runs that are gone
            with suppress(OSError):
                empty.rmdir()
    return written


def curves_of(output_dir: Path) -> dict[str, list[Cell]]:
    """Return the curves of all trained runs in `output_dir` by the name of the curve's folder."""
    records = read_folders(sorted(output_dir.glob("*")))
    found = lines(cells([record for record in records if not is_untrained(record.settings)]))
    return {curve_name(line[-1]): line for line in found if line[-1].settings["method"] != "reference"}


def stale_curves(output_dir: Path) -> list[str]:
    """Return the names of curves in `output_dir` that no run stands behind any more."""
    names = {events.parent.name for events in (output_dir / "curves").glob("*/events.out.tfevents.*")}
    return sorted(names - curves_of(output_dir).keys()) if names else []


def curve_name(cell: Cell) -> str:
    """Return method, model, data set and whatever else distinguishes the cell, as a folder's name.

    A name that is too long for a folder ends in a hash of the whole name instead of its last settings.
    """
    own = without(cell.key, "sparsity", "method", "model", "dataset")
    words = [cell.key["method"], cell.key["model"], cell.key["dataset"]]
    words += [f"{name}={value}" for name, value in own.items() if value != ""]
    whole = "-".join(map(str, words))
    name = re.sub(r"[^\w.=,-]+", "_", whole).encode()
    if len(name) <= LONGEST_NAME:
        return name.decode()
    end = f"-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return name[: LONGEST_NAME - len(end)].decode(errors="ignore") + end
