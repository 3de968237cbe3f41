"""Which runs a report of errors shows: those that were trained."""

import logging
from collections.abc import Sequence

from snip_cli.errors import ConfigError
from snip_cli.report.records import Record, Settings

log = logging.getLogger("snip_cli")


def is_untrained(settings: Settings) -> bool:
    """Return whether a run trained nothing: its weights were drawn, and no training followed.

    Weights that were given, or trained before they were pruned, have an error that says something.
    """
    trained = settings.get("model.weights") or settings.get("dense_schedule.iterations")
    return settings["schedule.iterations"] == 0 and not trained


def trained(records: Sequence[Record], untrained: bool = False) -> list[Record]:
    """Return the runs that are trained, finished or not, and warn of how many are not; with `untrained`, all. Raises ConfigError where no run was trained."""
    if untrained:
        return list(records)
    found = [record for record in records if not is_untrained(record.settings)]
    others = [record for record in records if is_untrained(record.settings)]
    if others and not found:
        raise ConfigError(
            "No run here was trained (schedule.iterations is 0 in all of them), so their errors say nothing: add --untrained to show them."
        )
    if others:
        log.warning("passed over %s; --untrained shows them", _in_words(others))
    return found


def _in_words(untrained: Sequence[Record]) -> str:
    """Return how many runs trained nothing, and how many of schedule.iterations=0 have no result yet."""
    finished = sum(bool(record.results) for record in untrained)
    unfinished = len(untrained) - finished
    parts = [
        f"{finished} {_runs(finished)} that trained nothing" if finished else "",
        f"{unfinished} unfinished {_runs(unfinished)} with schedule.iterations=0" if unfinished else "",
    ]
    return " and ".join(filter(None, parts))


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"
