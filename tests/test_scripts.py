"""The scripts: which runs a paper's table asks for, with a stand-in for Python that notes its arguments."""

import subprocess

import pytest

from tests.commands import ROOT


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A stand-in for Python, and the commands that it was given."""
    noted = tmp_path / "calls"
    stand_in = tmp_path / "python"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {noted}\ncase "$*" in *vgg_c*) exit 1;; esac\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(stand_in))
    return lambda: noted.read_text().splitlines()


def script(name, *arguments):
    return subprocess.run([ROOT / "scripts" / name, *arguments], capture_output=True, text=True, check=False)


def test_table2_runs_every_network_at_its_sparsity_and_ends_with_the_table(calls):
    finished = script("table2", "--seeds", "3", "--iterations", "50", "--output", "there", "dtype=bfloat16")
    *runs, report = calls()
    rows = [(run.split("model=")[1].split()[0], run.split("sparsity=0,")[1].split()[0]) for run in runs]
    order = "lstm_s lstm_b gru_s gru_b vgg_like alexnet_s vgg_c vgg_d alexnet_b wrn_16_8 wrn_22_8 wrn_16_10"
    assert " ".join(model for model, _ in rows) == order
    sparsity = {"vgg_like": "0.97", "alexnet_s": "0.9", "alexnet_b": "0.9"}
    assert all(given == sparsity.get(model, "0.95") for model, given in rows)
    assert all(
        ("dataset=mnist" in run) == (model[-2:] in ("_s", "_b") and "alexnet" not in model)
        for run, (model, _) in zip(runs, rows, strict=True)
    )
    settings = "seeds=3 output_dir=there dtype=bfloat16 schedule.iterations=50"
    assert all(run.endswith(settings) for run in runs)
    assert report == "-m snip_cli.report there --table Table 2"
    assert finished.returncode == 1  # of vgg_c; the rows behind it were run all the same


def test_table2_refuses_what_it_does_not_know(calls):
    refused = script("table2", "--epochs", "3")
    assert refused.returncode == 2
    assert refused.stderr.startswith("usage: scripts/table2")
