"""Numbers → the coordinates of an inline SVG picture, which `chart.html` draws."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from snip_cli.report.figures.styles import style_of

# Of the picture, in its own units; the browser scales it. A small width keeps the words readable on a telephone.
WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 12, 44
# The width of a digit at the size of the ticks' words.
DIGIT = 7.5


@dataclass(frozen=True)
class Point:
    """A value with the text that is shown when the pointer is over it (the line alone passes through it if there is none), and a
    standard deviation where there is one."""

    x: float
    y: float
    text: str
    std: float = 0.0


@dataclass(frozen=True)
class Series:
    """Values that a line joins, and published values that belong to them; `number` chooses colour and dashes."""

    name: str
    number: int
    points: Sequence[Point]
    published: Sequence[Point] = ()


@dataclass(frozen=True)
class Scale:
    """One axis: its name, its range and its ticks, all in the units of the values; `transform` makes them linear."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    transform: Callable[[float], float] = float

    def share(self, value: float) -> float:
        """Return where a value is between the ends of the axis, from 0 to 1; a value outside is put on the nearer end."""
        low, high = self.transform(self.low), self.transform(self.high)
        inside = self.transform(min(max(value, self.low), self.high))
        return (inside - low) / (high - low) if high > low else 0.5


@dataclass(frozen=True)
class Mark:
    """One drawn point. `shape` is a dot, a cross (published), or a triangle that stands for a value above the axis."""

    x: float
    y: float
    text: str
    shape: str

    @property
    def anchor(self) -> str:
        """The side of the text that stands at the point, so that the text stays inside the picture."""
        third = (self.x - LEFT) / (WIDTH - LEFT - RIGHT)
        return "start" if third < 1 / 3 else "end" if third > 2 / 3 else "middle"

    @property
    def text_y(self) -> float:
        """The height of the text: above the point, or below one that is near the top."""
        return self.y - 10 if self.y > TOP + 24 else self.y + 20


@dataclass(frozen=True)
class Line:
    """One drawn series: its name and classes for the style sheet, the line and its band as SVG writes them, and its points."""

    name: str
    classes: str
    path: str
    band: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Chart:
    """A drawn picture: its title, axes with the places of their ticks, its lines, and the heights of the references across it."""

    title: str
    x: Scale
    y: Scale
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    lines: Sequence[Line]
    levels: Sequence[float]


def chart(title: str, series: Sequence[Series], x: Scale, y: Scale, levels: Sequence[float] = ()) -> Chart:
    """Return the picture of some series on two axes, with a line across it at each of the `levels`."""
    return Chart(
        title,
        x,
        y,
        _apart([(_across(x, place), text) for place, text in x.ticks]),
        [(_down(y, place), text) for place, text in y.ticks],
        [_line(one, x, y) for one in series],
        [_down(y, level) for level in levels],
    )


def linear(label: str, values: Sequence[float], *, high: float | None = None) -> Scale:
    """Return an axis from 0 to the largest value, or to `high`, with round numbers at its ticks."""
    from matplotlib.ticker import MaxNLocator

    top = (high or max(values, default=0.0)) or 1.0
    places = [float(place) for place in MaxNLocator(6).tick_values(0.0, top) if place >= 0]
    return Scale(label, 0.0, places[-1], [(place, f"{place:,g}") for place in places])


def logarithmic(label: str, values: Sequence[float]) -> Scale:
    """Return an axis over the powers of ten around the values that are above 0; a 0 is put on its lower end."""
    positive = [value for value in values if value > 0] or [1.0]
    first, last = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    first = min(first, last - 1)
    ticks = [(10.0**power, f"{10.0**power:g}") for power in range(first, last + 1)]
    return Scale(label, 10.0**first, 10.0**last, ticks, math.log10)


def _apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return ticks, emptying the words that would overlap those before them; the last words stay."""
    shown: list[tuple[float, str]] = []
    left = math.inf
    for place, text in reversed(ticks):
        half = DIGIT * len(text) / 2
        fits = place + half <= left
        shown.insert(0, (place, text if fits else ""))
        left = place - half - DIGIT if fits else left
    return shown


def _across(scale: Scale, value: float) -> float:
    return round(LEFT + scale.share(value) * (WIDTH - LEFT - RIGHT), 1)


def _down(scale: Scale, value: float) -> float:
    return round(HEIGHT - BOTTOM - scale.share(value) * (HEIGHT - BOTTOM - TOP), 1)


def _line(series: Series, x: Scale, y: Scale) -> Line:
    places = [(_across(x, point.x), _down(y, point.y)) for point in series.points]
    upper = [(_across(x, point.x), _down(y, point.y + point.std)) for point in series.points]
    lower = [(_across(x, point.x), _down(y, point.y - point.std)) for point in reversed(series.points)]
    has_band = len(places) > 1 and any(point.std for point in series.points)
    marks = [
        Mark(_across(x, point.x), _down(y, point.y), point.text, "triangle" if point.y > y.high else shape)
        for points, shape in ((series.points, "dot"), (series.published, "cross"))
        for point in points
        if point.text
    ]
    style = style_of(series.number)
    path = _joined(places) if len(places) > 1 else ""
    return Line(
        series.name, f"colour{style.colour} dash{style.dash}", path, _joined(upper + lower) if has_band else "", marks
    )


def _joined(places: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:g} {y:g}" for x, y in places)
