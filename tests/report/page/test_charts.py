"""Where the page's pictures put their values."""

from itertools import pairwise

import pytest

from snip_cli.report.page.charts import (
    BOTTOM,
    DIGIT,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Point,
    Scale,
    Series,
    chart,
    linear,
    logarithmic,
)

DOWN, END = HEIGHT - BOTTOM, WIDTH - RIGHT


def test_values_are_between_the_ends_of_their_axes():
    x, y = linear("x", [10.0]), linear("y", [4.0])
    assert (x.high, y.high) == (10.0, 4.0)
    [line] = chart("c", [Series("a", 0, [Point(0, 0, "p"), Point(5, 4, "q"), Point(10, 2, "r")])], x, y).lines
    assert [(mark.x, mark.y) for mark in line.marks] == [
        (LEFT, DOWN),
        ((LEFT + END) / 2, TOP),
        (END, (TOP + DOWN) / 2),
    ]
    assert line.path == f"M{LEFT} {DOWN} L{(LEFT + END) / 2:g} {TOP} L{END} {(TOP + DOWN) / 2:g}"


def test_a_band_goes_up_and_back_down():
    x, y = linear("x", [10.0]), linear("y", [4.0])
    [line] = chart("c", [Series("a", 0, [Point(0, 2, "p", 2.0), Point(10, 2, "q", 1.0)])], x, y).lines
    middle = [TOP, TOP + (DOWN - TOP) / 4, DOWN - (DOWN - TOP) / 4, DOWN]
    assert [float(place.split()[1]) for place in line.band[1:].split("L")] == pytest.approx(middle, abs=0.1)


def test_a_logarithmic_axis_spans_whole_powers_and_keeps_zero_on_its_end():
    scale = logarithmic("y", [0.0, 0.5, 20.0])
    assert [label for _, label in scale.ticks] == ["0.1", "1", "10", "100"]
    assert [scale.share(value) for value in (0.0, 0.1, 1.0, 100.0)] == pytest.approx([0, 0, 1 / 3, 1])


def test_a_value_above_the_axis_is_a_triangle_at_its_end():
    x, y = linear("x", [1.0]), linear("y", [], high=5.0)
    [line] = chart("c", [Series("a", 0, [Point(0, 2, "p"), Point(1, 90, "q")])], x, y).lines
    assert [(mark.shape, mark.y) for mark in line.marks][1] == ("triangle", TOP)
    assert line.marks[0].shape == "dot"


def test_lines_beyond_the_tenth_have_other_dashes():
    x = y = linear("x", [1.0])
    drawn = chart("c", [Series("", number, [Point(0, 0, "p")]) for number in range(40)], x, y).lines
    assert len({line.classes for line in drawn}) == 40


def test_words_that_would_overlap_are_left_out_and_their_ticks_stay():
    ticks = [(float(place), f"{place}.1234") for place in range(0, 101, 5)]
    drawn = chart("c", [], Scale("x", 0.0, 100.0, ticks), linear("y", [1.0])).x_ticks
    words = [(x, text) for x, text in drawn if text]
    assert len(drawn) == 21 and words[-1][1] == "100.1234"
    for (left, before), (right, after) in pairwise(words):
        assert right - left >= DIGIT * (len(before) + len(after)) / 2
