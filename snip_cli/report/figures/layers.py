"""The densities of a network's layers, methods side by side."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from snip_cli.errors import ConfigError
from snip_cli.report.captions import phrase
from snip_cli.report.cells import Cell
from snip_cli.report.figures.drawing import Drawing
from snip_cli.report.figures.legends import place_legend
from snip_cli.report.layers import Layer
from snip_cli.report.names import short_names
from snip_cli.report.tables.layers import layer_rows

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# The colour of a cell and its layers.
Bars = tuple[str, Sequence[Layer]]

# Each combination of these settings is a panel; any other setting distinguishes the bars in it.
PANEL = ("model", "dataset", "sparsity")
# Inches: a bar, a panel's height, and the width of a figure.
BAR, HEIGHT, NARROWEST, WIDEST = 0.12, 3.0, 6.0, 30.0
# Letters of a legend in an inch, and as many as the picture before a name is wide.
PER_INCH, HANDLE = 15, 8
# More names than this, or longer ones, are turned.
NAMES, LETTERS = 12, 10


def draw_layers(cells: Sequence[Cell], layers: Sequence[Sequence[Layer]]) -> Drawing:
    """Draw the density of each layer as a bar, one per cell, on a logarithmic axis. A black line marks the effective density.

    A 0 stands for what a logarithmic axis cannot show. There is a panel for each model, data set and requested sparsity. Unpruned networks
    are left out. Raises ConfigError where no network is left.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    pruned = [place for place, of_cell in enumerate(layers) if any(layer.kept < layer.total for layer in of_cell)]
    if not pruned:
        raise ConfigError("There is nothing to draw: no run with known layers is pruned.")
    names = short_names([cells[place].key for place in pruned], hidden=PANEL)
    names = [name or cells[place].settings["method"] for place, name in zip(pruned, names, strict=True)]
    colours = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(names))}
    panels: dict[tuple[Any, ...], list[Bars]] = {}
    for place, name in zip(pruned, names, strict=True):
        panel = tuple(cells[place].settings[setting] for setting in PANEL)
        panels.setdefault(panel, []).append((colours[name], layers[place]))
    most = max(sum(len(of_cell) for _, of_cell in bars) for bars in panels.values())
    size = (min(max(BAR * most + 1, NARROWEST), WIDEST), HEIGHT * len(panels))
    figure = Figure(figsize=size, layout="constrained")
    in_order = sorted(panels, key=lambda panel: (*panel[:-1], isinstance(panel[-1], str), panel[-1]))
    for axes, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], in_order, strict=True):
        _draw_panel(axes, panels[panel])
        axes.set_title(", ".join(map(phrase, PANEL, panel)), fontsize="medium")
    handles: list[Artist] = [Patch(color=colour, label=name) for name, colour in colours.items()]
    handles.append(Line2D([], [], color="black", label="effective density"))
    fitting = int(size[0] * PER_INCH / (max(map(len, names)) + HANDLE))
    place_legend(figure, handles, loc="outside lower center", ncols=min(3, max(1, fitting)))
    return Drawing(figure, layer_rows([cells[place] for place in pruned], [layers[place] for place in pruned]))


def _draw_panel(axes: "Axes", shown: Sequence[Bars]) -> None:
    """Draw the bars of one panel."""
    known = [value for _, of_cell in shown for layer in of_cell for value in (layer.density, layer.effective_density)]
    lowest = 10.0 ** math.floor(math.log10(min((value for value in known if value), default=1.0)) - 1e-9)
    width = 0.8 / len(shown)
    for number, (colour, of_cell) in enumerate(shown):
        places = [place + (number - (len(shown) - 1) / 2) * width for place in range(len(of_cell))]
        axes.bar(places, [layer.density for layer in of_cell], width, color=colour)
        for place, layer in zip(places, of_cell, strict=True):
            effective = layer.effective_density
            if not layer.kept or effective == 0:
                axes.text(place, lowest, "0", ha="center", va="bottom", color="black" if layer.kept else colour)
            elif effective is not None:
                axes.hlines(effective, place - width / 2, place + width / 2, color="black", linewidth=1)
    names = [layer.name for layer in shown[0][1]]
    turned = len(names) > NAMES or max(map(len, names)) > LETTERS
    axes.set_xticks(range(len(names)), names, rotation=90 if turned else 0, fontsize="small")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_yscale("log")
    axes.set_ylim(lowest, 1)
    axes.set_ylabel("density")
    axes.grid(axis="y", alpha=0.3)
