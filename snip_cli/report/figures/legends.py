"""Where a figure's legend goes: where the figure wants it while it is short, beside the plot otherwise."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A longer legend hides the plot.
LONGEST = 10
# Entries of a column beside the plot.
COLUMN = 40
# Inches: room around a legend, and a figure that no legend fills.
MARGIN, HUGE = 0.3, 100.0


def place_legend(figure: "Figure", handles: "Sequence[Artist]", inside: "Axes | None" = None, **short: Any) -> None:
    """Place the legend of handles that have labels: up to ten entries `inside` the axes, or in the figure, as `short` says.

    A longer legend goes beside the plot, and the figure grows by its size.
    """
    if len(handles) <= LONGEST:
        (inside or figure).legend(handles=handles, fontsize="small", **short)
        return
    columns = math.ceil(len(handles) / COLUMN)
    legend = figure.legend(handles=handles, loc="outside right upper", ncols=columns, fontsize="small")
    width, height = figure.get_size_inches()
    figure.set_size_inches(HUGE, HUGE)  # the legend is measured where there is room for everything
    figure.draw_without_rendering()
    size = legend.get_window_extent()
    figure.set_size_inches(width + size.width / figure.dpi + MARGIN, max(height, size.height / figure.dpi + MARGIN))
