"""What a command prints and returns when it fails; the same for all three commands."""

from contextlib import suppress
from pathlib import Path

import pytest

from snip_cli.commands.console import exit_code_of
from snip_cli.errors import ConfigError, RunError
from snip_cli.runtime.signals import Terminated


def fail(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (ConfigError("sparsity must be lower."), 2, "snip-x: sparsity must be lower.\n"),
        (RunError("The loss is not finite."), 1, "snip-x: The loss is not finite.\n"),
        (KeyboardInterrupt(), 130, "\nsnip-x: stopped; go on.\n"),
        (KeyboardInterrupt("the jobs continue"), 130, "\nsnip-x: the jobs continue\n"),
        (Terminated(15), 143, "\nsnip-x: stopped; go on.\n"),
    ],
)
def test_an_expected_error_is_one_line_and_an_exit_code(error, code, printed, capsys):
    assert exit_code_of("snip-x", fail(error), when_stopped="stopped; go on.") == code
    assert capsys.readouterr().err == printed


def test_success_is_what_the_work_returns():
    assert exit_code_of("snip-x", lambda: 0) == 0


def test_an_unexpected_error_shows_its_traceback(capsys):
    assert exit_code_of("snip-x", fail(ZeroDivisionError("division"))) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert printed.endswith("snip-x: unexpected ZeroDivisionError: division\n")


def test_an_unexpected_error_with_a_note_says_where_the_traceback_is(capsys):
    error = ZeroDivisionError("division")
    error.add_note("its traceback is in run.log")
    assert exit_code_of("snip-x", fail(error)) == 1
    assert capsys.readouterr().err == "snip-x: unexpected ZeroDivisionError: division; its traceback is in run.log\n"


def test_under_torchrun_an_error_names_the_process(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    assert exit_code_of("snip-x", fail(ConfigError("No."))) == 2
    assert capsys.readouterr().err == "snip-x (process 3): No.\n"


def test_a_closed_pipe_is_silent(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout", None)  # restores it afterwards
    assert exit_code_of("snip-x", fail(BrokenPipeError())) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file of Linux")
def test_output_that_a_full_disk_does_not_take_is_one_sentence(capsys, monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert exit_code_of("snip-x", lambda: print("a table") or 0) == 1
        with suppress(OSError):
            full.close()
    printed = "snip-x: the output cannot be written (No space left on device): free space there.\n"
    assert capsys.readouterr().err == printed
