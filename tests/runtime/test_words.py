"""Durations and sizes as a reader wants them."""

import pytest

from snip_cli.runtime.words import duration, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (7500, "2 h 5 min"), (200_000, "2 days 7 h")],
)
def test_a_duration_is_said_in_two_units_at_most(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 kB"), (5_400, "5 kB"), (3_400_000, "3.4 MB"), (12_500_000_000, "12.5 GB")]
)
def test_a_size_has_the_unit_that_fits(count, words):
    assert size(count) == words
