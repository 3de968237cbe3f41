"""Layers of cells → tables: one per cell for reading, and one of all for CSV."""

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from snip_cli.report.captions import common_and_own
from snip_cli.report.cells import Cell
from snip_cli.report.layers import Layer, whole
from snip_cli.report.names import short_names
from snip_cli.report.records import Row
from snip_cli.report.tables.latex import as_latex

UNKNOWN = "-"


def layer_rows(cells: Sequence[Cell], layers: Sequence[Sequence[Layer]]) -> list[Row]:
    """Return a row per layer of each cell, in full: counts are means over the seeds, densities and shares of the dense multiply-adds fractions."""
    return [
        {
            **cell.key,
            "n": len(cell.results),
            "layer": layer.name,
            "shape": layer.shape,
            "total": layer.total,
            "kept": layer.kept,
            "density": layer.density,
            "effective_density": layer.effective_density,
            "multiply_adds": layer.multiply_adds,
        }
        for cell, of_cell in zip(cells, layers, strict=True)
        for layer in of_cell
    ]


def layers_text(cells: Sequence[Cell], layers: Sequence[Sequence[Layer]], style: str = "simple") -> str:
    """Return a table per cell for reading, each below a line (in LaTeX: a caption) that names the cell; `style` is a format of tabulate."""
    keys = [cell.key for cell in cells]
    common, names = common_and_own(keys)[0], short_names(keys)
    parts = []
    for cell, name, of_cell in zip(cells, names, layers, strict=True):
        seeds = f"n = {len(cell.results)}" if cell.results else "unfinished"
        heading = f"{', '.join(filter(None, (name, common)))} ({seeds})"
        rows = [_shown(layer) for layer in (*of_cell, whole(of_cell))]
        if style.startswith("latex"):
            parts.append(as_latex(rows, f"{heading}.", []))
            continue
        aligned = ("left", "left", *["right"] * 5)
        parts.append(f"{heading}\n\n{tabulate(rows, 'keys', style, disable_numparse=True, colalign=aligned)}")
    return "\n\n".join(parts)


def _shown(layer: Layer) -> Mapping[str, str]:
    share = layer.multiply_adds
    return {
        "layer": layer.name,
        "shape": layer.shape,
        "total": f"{layer.total:,}",
        "kept": f"{layer.kept:,.0f}",
        "density": density(layer.density),
        "effective density": density(layer.effective_density),
        "dense multiply-adds (%)": UNKNOWN if share is None else f"{100 * share:.1f}",
    }


def density(value: float | None) -> str:
    """Return a fraction with four decimals, or two digits where these would hide it; a dash where it is not known."""
    if value is None:
        return UNKNOWN
    return f"{value:.1e}" if 0 < value < 0.001 else f"{value:.4f}"
