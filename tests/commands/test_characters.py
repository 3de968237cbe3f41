"""Terminals without the characters of our messages: others are printed, and nothing fails."""

import io
import sys

import pytest

from snip_cli.commands.characters import PLAIN, plain_characters
from snip_cli.commands.console import exit_code_of
from snip_cli.commands.snip_report import main as report
from snip_cli.commands.snip_run import main
from tests.snip_run import QUICK, ROOT


@pytest.fixture(params=["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def encoding(request):
    return request.param


class Terminal:
    """Stands for standard output and standard error, with an encoding."""

    def __init__(self, encoding, monkeypatch, errors="strict"):
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, write_through=True)
            monkeypatch.setattr(sys, name, stream)
            setattr(self, name, stream)

    def printed(self, name):
        return getattr(self, name).buffer.getvalue()


def test_a_sweep_and_its_report_are_printed(encoding, tmp_path, monkeypatch):
    terminal = Terminal(encoding, monkeypatch)
    runs = tmp_path / "ümläut-日本"
    assert main([*QUICK, "-m", "sparsity=0,0.9", "seeds=2", f"output_dir={runs}"]) == 0
    assert report([str(runs)]) == 0
    assert main([*QUICK, "model=é"]) == 2
    printed, complaints = (terminal.printed(name).decode(encoding) for name in ("stdout", "stderr"))
    assert "Traceback" not in complaints
    assert "Logging error" not in complaints
    assert complaints.count("\n") == 1
    for character in "·→±":
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            character = PLAIN[character]
        assert character in printed


def test_help_is_printed(encoding, monkeypatch):
    terminal = Terminal(encoding, monkeypatch)
    for command in (main, report):
        try:
            assert command(["--help"]) == 0
        except SystemExit as stop:  # argparse
            assert stop.code == 0
    assert terminal.printed("stderr") == b""


def test_a_byte_of_a_path_that_is_no_character_is_printed_as_it_is(encoding, monkeypatch):
    terminal = Terminal(encoding, monkeypatch)
    assert exit_code_of("snip-x", lambda: print("runs\udcff") or 0) == 0
    assert terminal.printed("stdout") == b"runs\xff\n"


def test_a_way_of_the_users_own_is_kept(monkeypatch):
    """As in PYTHONIOENCODING=ascii:replace."""
    terminal = Terminal("ascii", monkeypatch, errors="replace")
    with plain_characters():
        print("±")
    assert terminal.printed("stdout") == b"?\n"


def test_afterwards_the_streams_are_as_they_were(encoding, monkeypatch):
    Terminal(encoding, monkeypatch)
    with plain_characters(), plain_characters():
        pass
    assert (sys.stdout.errors, sys.stderr.errors) == ("strict", "strict")


def test_every_character_of_our_messages_has_a_plain_one():
    """Those of comments, docstrings and published numbers may have none."""
    messages = [ROOT / "snip_cli" / "run" / "messages.py", *(ROOT / "snip_cli" / "commands").glob("*.py")]
    used = {character for file in messages for character in file.read_text(encoding="utf-8") if character > "\x7f"}
    assert used <= PLAIN.keys()
