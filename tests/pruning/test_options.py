"""Options of methods: defaults, types, ranges, and the sentences for what is refused."""

from dataclasses import dataclass

import pytest

from snip_cli.errors import ConfigError
from snip_cli.pruning.options import option, read_options


@dataclass(frozen=True)
class Options:
    word: str = option("sum", "a word", choices=("sum", "ema"))
    part: float = option(0.5, "a part", at_least=0.0, below=1.0)
    count: int = option(3, "a count", at_least=1)
    open: float = option(0.1, "an open range", above=0.0, below=1.0)
    flag: bool = option(False, "a switch")


def test_what_is_not_given_keeps_its_default():
    assert read_options(Options, {"count": 4}, method="m") == Options(count=4)


def test_a_whole_number_will_do_for_a_number():
    part = read_options(Options, {"part": 0}, method="m").part
    assert (part, type(part)) == (0.0, float)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"wrod": "sum"},
            "method 'm' has no option 'wrod' (did you mean 'word'?); it has: word, part, count, open, flag.",
        ),
        ({"word": "mean"}, "method.word must be sum or ema: got 'mean'."),
        ({"word": 3}, "method.word must be a word: got 3."),
        ({"part": 1.0}, "method.part must be in [0, 1): got 1.0."),
        ({"part": float("nan")}, "method.part must be in [0, 1): got nan."),
        ({"part": "much"}, "method.part must be a number: got 'much'."),
        ({"count": 0}, "method.count must be at least 1: got 0."),
        ({"count": 1.5}, "method.count must be a whole number: got 1.5."),
        ({"count": True}, "method.count must be a whole number: got True."),
        ({"open": 0.0}, "method.open must be in (0, 1): got 0.0."),
        ({"flag": 1}, "method.flag must be true or false: got 1."),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_sentence(values, sentence):
    with pytest.raises(ConfigError) as error:
        read_options(Options, values, method="m")
    assert str(error.value) == sentence
