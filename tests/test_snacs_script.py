"""`scripts/snacs --fast`: which runs it asks for, in which order, and what it does once SNACS has found a sparsity."""

import itertools
import json

import pytest

from snip_cli.config import reading
from snip_cli.config.composition import composer
from snip_cli.config.epochs import as_iterations
from snip_cli.run.checks import check
from tests.test_scripts import runs, script, with_something_new

AUTO = "0.7312"


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A stand-in for Python that answers a dry run with a folder whose run has found the sparsity AUTO, and its calls."""
    folder, noted, stand_in = tmp_path / "a run", tmp_path / "calls", tmp_path / "python"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"sparsity": float(AUTO) + 0.00001}))
    answer = (
        f'case "$*" in *dry_run=true*) echo "folder   {folder}";; -c*) echo {AUTO};; *) echo "$@" >> {noted};; esac\n'
    )
    stand_in.write_text(f"#!/bin/sh\n{answer}")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(stand_in))
    return lambda: noted.read_text().splitlines()


def config_of(compose, run):
    """The configuration of a run, as the command line reads its settings."""
    return reading.load(compose.compose([as_iterations(f"{key}={value}") for key, value in run.items()]))


def cells(sweeps):
    """What is run, in order: network, method and sparsity."""
    return [(run["model"], run.get("method", "reference"), run["sparsity"]) for run in runs(sweeps)]


def test_what_matters_most_comes_first_and_the_others_follow_snacs(found):
    assert script("snacs", "--fast").returncode == 0
    *sweeps, report = found()
    made = cells(sweeps)
    assert report == "-m snip_cli.commands.snip_report runs/snacs --table SNACS"
    resnet56 = itertools.product(("snacs",), ("0.6897", "auto"))
    others = [(method, sparsity) for sparsity in ("0.6897", AUTO) for method in ("l1_filter", "magnitude")]
    assert made[:14] == [
        *(("resnet56", "reference", "0"), ("vgg16", "reference", "0")),
        *(("resnet56", *cell) for cell in [*resnet56, *others]),
        *(("vgg16", *cell) for cell in (("snacs", "0.9616"), ("snacs", "auto"))),
        *(("vgg16", "l1_filter", sparsity) for sparsity in ("0.9616", AUTO)),
        *(("resnet56", method, "0.6297") for method in ("snacs", "l1_filter")),
    ]
    assert len(set(made)) == len(made)
    for method in ("snacs", "l1_filter", "magnitude", "random"):
        for model, sparsities in (("resnet56", ("0.6297", "0.6897")), ("vgg16", ("0.8504", "0.9616"))):
            last = "auto" if method == "snacs" else AUTO
            assert {s for m, name, s in made if (m, name) == (model, method)} == {*sparsities, last}
    assert {cell[0] for cell in made if cell[1] == "mint"} == {"resnet56", "vgg16"}
    assert [cell for cell in made if cell[0] == "mobilenet_v2"] == [
        ("mobilenet_v2", "snacs", "auto"),
        ("mobilenet_v2", "l1_filter", AUTO),
    ]


def test_a_network_is_retrained_for_a_third_of_its_epochs_and_seeds_can_be_chosen(found):
    script("snacs", "--fast")
    for sweep in found()[:-1]:
        assert f" seeds={2 if 'model=resnet56' in sweep else 1} " in sweep
        assert " schedule=cifar_fast " in sweep
        assert (" schedule.epochs=12 schedule@dense_schedule=cifar_fast " in sweep) is ("method=" in sweep)
    before = len(found())
    script("snacs", "--fast", "--seeds", "3", "--iterations", "5", "--only", "vgg16", "dtype=float32")
    for sweep in found()[before:-1]:
        assert "-m model=vgg16 " in sweep
        assert sweep.endswith("seeds=3 output_dir=runs/snacs dtype=float32 schedule.iterations=5")
        assert ("dense_schedule.iterations=5" in sweep) is ("method=" in sweep)


def test_every_setting_composes_and_fits_its_network(found):
    script("snacs", "--fast", "--iterations", "5")
    with composer(None) as compose:
        for run in with_something_new(runs(found()[:-1])):
            check(config_of(compose, run))


def test_pruned_runs_share_the_reference_that_the_script_trains_first(found):
    script("snacs", "--fast")
    references = {}
    with composer(None) as compose:
        for run in runs(found()[:-1]):
            config = config_of(compose, run)
            references.setdefault(run["model"], set()).add(config.reference.folder.name)
            assert config.is_reference or (config.method.trained and not config.method.redraw)
            assert (config.schedule.iterations, config.reference.schedule.iterations) == (
                (12656, 12656) if config.is_reference else (4219, 12656)
            )
    assert all(len(names) == 1 for names in references.values())


def test_before_snacs_is_done_the_runs_at_its_sparsity_wait(found, tmp_path):
    (tmp_path / "a run" / "metrics.json").unlink()
    done = script("snacs", "--fast", "--only", "vgg16")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"scripts/snacs: method={methods} of model=vgg16 at the sparsity of SNACS's auto comes after that run, which is not finished"
        for methods in ("l1_filter", "magnitude,random ++method.trained=true method.redraw=false")
    ]


def test_other_scripts_have_no_fast_form(found):
    refused = script("table2", "--fast")
    assert (refused.returncode, refused.stderr.startswith("usage: scripts/table2 [--only")) == (2, True)
