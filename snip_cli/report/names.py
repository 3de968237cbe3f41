"""Short names that tell cells apart: method, model and data set, and beside them only the settings that it takes."""

from collections.abc import Sequence

from snip_cli.report.captions import phrase
from snip_cli.report.records import COLUMNS, Settings

# Of settings that differ together, as those of two optimizers do, the first one here is named.
FIRST = ("init.name", "schedule.optimizer", "schedule.anneal", "schedule.learning_rate", "schedule.iterations")


def short_names(keys: Sequence[Settings], hidden: Sequence[str] = ()) -> list[str]:
    """Return what distinguishes each key from the others, in words; an empty text where there is but one.

    A setting is named only where keys of the same model and data set differ in it, a setting of the method only where keys of the same
    method do. A setting that follows from others that are named is left out, and so is one of the columns in `hidden`, which a heading has.
    """
    own = [name for name in COLUMNS if name not in hidden]
    columns = [name for name in own if len({repr(key.get(name)) for key in keys}) > 1]
    names = []
    for key in keys:
        beside = [other for other in keys if all(other.get(name) == key.get(name) for name in ("model", "dataset"))]
        shown = [*columns, *_distinguishing(key, beside)]
        names.append(", ".join(filter(None, (phrase(name, key[name]) for name in shown if name in key))))
    return names


def _distinguishing(key: Settings, beside: Sequence[Settings]) -> list[str]:
    """Return the settings besides the columns that tell the keys `beside` apart, in their order, as far as `key` has them."""
    names = [name for name in key if name not in COLUMNS]
    chosen: list[str] = []
    for name in sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        own = [other for other in beside if _compared(name, key, other)]
        values: dict[str, set[str]] = {}
        for other in own:
            values.setdefault(repr([other.get(each) for each in chosen]), set()).add(repr(other.get(name)))
        if any(len(differing) > 1 for differing in values.values()):
            chosen.append(name)
    return [name for name in names if name in chosen]


def _compared(name: str, key: Settings, other: Settings) -> bool:
    """Return whether a reader would compare two keys in a setting: the reference has none of a method or its initialiser."""
    if name.startswith(("method.", "init.")):
        return bool(other.get("method") == key.get("method"))
    return True
