"""A library's warnings do not reach the user of a command."""

import logging
import sys
import warnings

from snip_cli.commands import snip_report
from snip_cli.commands.libraries import without_library_warnings
from tests.report.runs import record


def test_a_report_shows_none(tmp_path, capfd, monkeypatch):
    def noisy(*_):
        warnings.warn("axes sizes collapsed to zero", UserWarning, stacklevel=1)
        logging.getLogger("matplotlib.font_manager").warning("findfont: Font family not found.")
        return []

    record(tmp_path, "a", [1.0])
    monkeypatch.setattr(snip_report, "cells_of", noisy)
    assert snip_report.main([str(tmp_path)]) == 0
    assert capfd.readouterr().err == ""


def test_whoever_asks_python_for_warnings_gets_them(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["always"])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with without_library_warnings():
            warnings.warn("a reason", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["a reason"]


def test_afterwards_everything_is_as_before():
    handlers, filters = list(logging.getLogger().handlers), list(warnings.filters)
    with without_library_warnings():
        pass
    assert (logging.getLogger().handlers, warnings.filters) == (handlers, filters)
