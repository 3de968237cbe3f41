"""The command line: help, completion, flags, and what it may not import."""

import subprocess
import sys

import pytest

from snip_cli import registry
from snip_cli.commands import snip_run as cli
from snip_cli.commands.snip_run import main
from tests.snip_run import ROOT


def test_help_starts_with_examples_and_then_lists_the_choices(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    examples, choices, settings = said.index("snip-run method=snip"), said.index("Choices"), said.index("Settings")
    assert examples < choices < settings
    for line in (
        f"method: {', '.join(registry.methods.names())}",
        "model: alexnet_b, alexnet_s, gru_b, gru_s, lenet_300_100, ",
        "dataset: cifar10, digits, fashion_mnist, ilsvrc2012, image_folder, mnist, tiny_imagenet",
    ):
        assert line in " ".join(said.split())
    assert "${hydra" not in said


@pytest.mark.parametrize(
    "module, arguments",
    [("snip_cli", ["--help"]), ("snip_cli", ["-sc", "query=bash"]), ("snip_cli.commands.snip_report", ["--help"])],
)
def test_help_and_completion_import_no_torch(module, arguments):
    program = (
        "import runpy, sys, os; os.environ.update(COMP_LINE='snip-run method=', COMP_POINT='16');"
        f"sys.argv = {['snip-run', *arguments]!r}\n"
        f"try:\n    runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tab_completion_knows_the_choices(capsys, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "snip-run method=")
    monkeypatch.setenv("COMP_POINT", "16")
    assert main(["-sc", "query=bash"]) == 0
    assert {"method=snip", "method=random", "method=magnitude"} <= set(capsys.readouterr().out.split())


def test_cfg_prints_the_composed_configuration(capsys):
    assert main(["--cfg", "job", "dataset=digits"]) == 0
    assert "name: quick" in capsys.readouterr().out


def test_no_argument_at_all_is_the_quickstart(monkeypatch):
    seen = []
    monkeypatch.setattr(cli, "start", lambda compose, flags: seen.append(flags.overrides) or 0)
    assert main([]) == 0
    assert seen == [["experiment=quickstart"]]


def test_a_data_set_names_its_schedule_and_the_command_line_wins(capsys):
    def schedule(*arguments):
        main(["--cfg", "job", "--package", "schedule", *arguments])
        return capsys.readouterr().out

    assert "name: lenet" in schedule()
    assert "name: quick" in schedule("dataset=digits")
    assert "name: lenet" in schedule("dataset=digits", "schedule=lenet")
    assert "name: quick" in schedule("schedule=quick", "dataset=mnist")


def test_iterations_cut_a_schedule_short_and_leave_its_milestones(capsys):
    main(["--cfg", "job", "--package", "schedule", "schedule.iterations=2000"])
    said = capsys.readouterr().out
    assert "iterations: 2000" in said
    assert all(f"- {milestone}" in said for milestone in (25000, 50000, 75000))


def test_the_root_of_the_data_is_the_environments_or_a_folder_here(capsys, monkeypatch):
    monkeypatch.setenv("SNIP_DATA", "/somewhere")
    main(["--cfg", "job", "--resolve", "--package", "dataset"])
    assert "root: /somewhere" in capsys.readouterr().out
    monkeypatch.delenv("SNIP_DATA")
    main(["--cfg", "job", "--resolve", "--package", "dataset"])
    assert "root: data" in capsys.readouterr().out
