"""Short names: what tells cells apart, and no more."""

import pytest

from snip_cli.report.cells import cells, with_own_schedules
from snip_cli.report.names import short_names
from snip_cli.report.records import COLUMNS, read_tree
from tests.report.runs import ADAM as ADAM_OF_A_RUN
from tests.report.runs import record


def key(method="snip", model="lenet_300_100", dataset="mnist", **settings):
    return {
        "method": method,
        "model": model,
        "dataset": dataset,
        **{k.replace("__", "."): v for k, v in settings.items()},
    }


SGD = {"schedule__iterations": 100_000, "schedule__milestones": [25_000], "schedule__optimizer": "sgd"}
ADAM = {"schedule__iterations": 20_000, "schedule__milestones": [], "schedule__optimizer": "adam"}


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ([key()], [""]),
        ([key("snip"), key("random")], ["snip", "random"]),
        # One of several settings that differ together is enough, the one that says most.
        ([key(**SGD), key(**ADAM)], ["optimizer sgd", "optimizer adam"]),
        # Two of them where one is not enough.
        (
            [key(**SGD), key(**ADAM), key(**ADAM | {"schedule__iterations": 300})],
            ["iterations 100000, optimizer sgd", "iterations 20000, optimizer adam", "iterations 300, optimizer adam"],
        ),
        # What differs between data sets is not named beside the data set.
        (
            [key(**SGD), key(dataset="digits", schedule__iterations=300)],
            ["mnist", "digits"],
        ),
        # Methods are compared in how they were trained, not in their own options.
        (
            [key("snip", method__redraw=True, schedule__iterations=5), key("gmp", method__redraw=False, schedule__iterations=6)],
            ["snip, iterations 5", "gmp, iterations 6"],
        ),
        (
            [key("snip", method__classes=[0]), key("snip", method__classes=[1]), key("random", method__classes=[])],
            ["snip, class 0", "snip, class 1", "random"],
        ),
        # Where a column is not named, a setting still distinguishes.
        ([{"method.batch_size": 1}, {"method.batch_size": 10}], ["saliency batch 1", "saliency batch 10"]),
    ],
)  # fmt: skip
def test_what_distinguishes_is_named_and_what_follows_is_not(keys, names):
    assert short_names(keys) == names


def test_no_two_keys_have_the_same_name():
    values = [(a, b, c) for a in (1, 2) for b in (1, 2) for c in (1, 2) if a + b + c != 5]
    keys = [key(method__a=a, schedule__b=b, init__c=c) for a, b, c in values]
    assert len(set(short_names(keys))) == len(keys)


def test_methods_with_schedules_of_their_own_are_named_by_them_only_where_one_has_several(tmp_path):
    def names(*by):
        found = with_own_schedules(cells(read_tree(tmp_path), [*COLUMNS, *by]), [*COLUMNS, *by])
        assert len({repr(cell.key) for cell in found}) == len(found)
        return short_names([cell.key for cell in found], hidden=("sparsity",))

    record(tmp_path, "snip", [2.0])
    record(tmp_path, "dns", [2.0], method="dns", **{"schedule.learning_rate": 0.01})
    record(tmp_path, "sgd", [1.0], method="reference", sparsity=0.0)
    assert names() == ["reference", "dns", "snip"]
    assert names("schedule.learning_rate") == [
        "reference, learning rate 0.1",
        "dns, learning rate 0.01",
        "snip, learning rate 0.1",
    ]
    record(tmp_path, "adam", [1.0], method="reference", sparsity=0.0, **ADAM_OF_A_RUN)
    assert names() == ["reference, optimizer adam", "reference, optimizer sgd", "dns", "snip"]
