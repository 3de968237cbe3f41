"""What the page shows of each network on each data set: the errors as picture and table, and densities, training and masks by sparsity."""

import base64
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from snip_cli.errors import ConfigError
from snip_cli.report.captions import common_and_own, without
from snip_cli.report.cells import Cell, lines
from snip_cli.report.figures.axes import stretch, ticks
from snip_cli.report.figures.masks import pictures_of
from snip_cli.report.figures.styles import deviation, highest_error, warn_of_repeats
from snip_cli.report.names import short_names
from snip_cli.report.page.charts import Chart, Point, Scale, Series, chart, linear
from snip_cli.report.page.groups import Group, Named, groups
from snip_cli.report.tables.errors import for_reading, with_std


@dataclass(frozen=True)
class Mask:
    """How much each pixel keeps of the first layer, as a picture that HTML can hold."""

    name: str
    source: str


@dataclass(frozen=True)
class Section:
    """One network on one data set. `notes` stand below the table, `missing` says why pictures are left out."""

    title: str
    shared: str
    errors: Chart | None
    table: Sequence[dict[str, str]]
    notes: Sequence[str]
    groups: Sequence[Group]
    masks: Sequence[Mask]
    missing: Sequence[str]


def sections(cells: Sequence[Cell]) -> list[Section]:
    """Return a section for each network on each data set, in the order of the cells."""
    made: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        made.setdefault((cell.settings["model"], cell.settings["dataset"]), []).append(cell)
    return [_section(f"{model} on {dataset}", of_both) for (model, dataset), of_both in made.items()]


def _section(title: str, cells: Sequence[Cell]) -> Section:
    drawn = lines(cells)
    keys = [without(line[-1].key, "sparsity", "model", "dataset") for line in drawn]
    shared, names = common_and_own(keys)[0], short_names(keys)
    named = [(name or shared, number, line) for number, (name, line) in enumerate(zip(names, drawn, strict=True))]
    warn_of_repeats(len(named))
    table, notes = for_reading(cells)
    missing: dict[str, None] = {}
    return Section(
        title,
        shared if len(drawn) > 1 else "",
        error_chart(named) if drawn else None,
        [_error_first(row) for row in table],
        notes,
        groups(named, missing),
        masks(cells, missing),
        list(missing),
    )


def _error_first(row: Mapping[str, str]) -> dict[str, str]:
    """Return a row of the table without what the heading says, and with the error where a narrow window shows it."""
    first = [name for name in ("method", "sparsity", "n", "error (%)") if name in row]
    names = [*first, *(name for name in row if name not in (*first, "model", "dataset"))]
    return {name.removeprefix("schedule."): row[name] for name in names}


def error_chart(named: Sequence[Named]) -> Chart:
    """Return error against sparsity: means with a band of one standard deviation, published numbers as crosses."""
    everything = [cell for _, _, line in named for cell in line]
    places = ticks(everything)
    sparsities = [100 * cell.sparsity for cell in everything]
    x = Scale(
        "sparsity (%), by the logarithm of what is kept",
        min(sparsities),
        max(sparsities),
        [(place, f"{place:.5g}") for place in places],
        lambda sparsity: float(stretch(numpy.array(sparsity))),
    )
    y = linear("test error (%)", [], high=highest_error(everything))
    levels = {round(statistics.fmean(cell.errors), 4) for cell in everything if cell.settings["method"] == "reference"}
    return chart("Test error against sparsity", [_errors(*one) for one in named], x, y, sorted(levels))


def _errors(name: str, number: int, line: Sequence[Cell]) -> Series:
    points = []
    for cell in line:
        mean = statistics.fmean(cell.errors)
        std = statistics.stdev(cell.errors) if len(cell.errors) > 1 else None
        text = (
            f"{cell.settings['method']}, sparsity {cell.sparsity:.5g}: {with_std(mean, std)} % (n = {len(cell.errors)})"
        )
        points.append(Point(100 * cell.sparsity, mean, text, deviation(cell)))
    published = [
        Point(100 * cell.sparsity, paper.error, f"published, sparsity {cell.sparsity:.5g}: {paper.error} %")
        for cell in line
        if (paper := cell.published) and not paper.deviations(cell.settings)
    ]
    return Series(name, number, points, published)


def masks(cells: Sequence[Cell], missing: dict[str, None]) -> list[Mask]:
    """Return a picture of the first layer for each cell that has its masks and a first layer that is linear on the pixels."""
    having = [cell for cell in cells if any((Path(folder) / "mask.pt").exists() for folder in cell.folders)]
    having = [cell for cell in having if cell.settings["method"] != "reference"]
    names = short_names([cell.key for cell in having], hidden=("model", "dataset"))
    made = []
    for cell, name in zip(having, names, strict=True):
        from snip_cli.runfolder.events import as_png  # imports TensorBoard

        try:
            [picture] = pictures_of([cell])
        except ConfigError as error:
            missing[str(error)] = None
        else:
            png = base64.b64encode(as_png(picture.kept_HW, enlarged=4)).decode()
            words = name or f"sparsity {cell.sparsity:.5g}"
            made.append(Mask(f"{words}, seed {picture.seed}", f"data:image/png;base64,{png}"))
    return made
