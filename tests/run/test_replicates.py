"""The seeds of a run, trained together or apart: the same record."""

import csv
import itertools
import json
import re

import numpy
import pytest
import torch

from snip_cli.commands.snip_run import main
from snip_cli.run import pipeline as run
from snip_cli.run import seed as run_seed
from snip_cli.runfolder.recorder import Recorder
from snip_cli.training.sparse.trainer import SparseTrainer
from snip_cli.training.stacked.trainer import StackedTrainer
from tests.run.test_pipeline import without_seconds
from tests.snip_run import QUICK, only_run, read_metrics, run_quick, train_until_checkpoint

MANY = ["seeds=3", "sparsity=0.95", "dtype=float64"]


def rows_of(folder):
    with (folder / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_same_record(found, expected):
    """The same masks bit by bit, the same weights and curves to rounding, the same layout."""
    assert {path.name.split(".")[0] for path in found.iterdir()} == {
        path.name.split(".")[0] for path in expected.iterdir()
    }
    masks, others = (torch.load(folder / "mask.pt", weights_only=True) for folder in (found, expected))
    assert list(masks) == list(others)
    assert all(torch.equal(masks[seed][name], keep) for seed, mask in others.items() for name, keep in mask.items())
    weights, others = (
        torch.load(folder / "checkpoint.pt", weights_only=True)["weights"] for folder in (found, expected)
    )
    for seed, tensors in others.items():
        assert list(weights[seed]) == list(tensors)
        for name, tensor in tensors.items():
            torch.testing.assert_close(weights[seed][name], tensor, rtol=0, atol=1e-9)
    for row, other in zip(rows_of(found), rows_of(expected), strict=True):
        assert row == pytest.approx(other, rel=0, abs=1e-9)
    assert without_seconds(read_metrics(found)) == without_seconds(read_metrics(expected))


@pytest.mark.parametrize("model", ["lenet_300_100", "gru_s"])
def test_together_and_apart_leave_the_same_record(model, tmp_path):
    together = run_quick(tmp_path / "together", *MANY, f"model={model}", "replicates=stacked")
    apart = run_quick(tmp_path / "apart", *MANY, f"model={model}", "replicates=apart")
    assert together.name == apart.name
    assert_same_record(together, apart)


def test_more_seeds_add_the_missing_ones_together(tmp_path):
    folder = run_quick(tmp_path / "grown", *MANY, "seeds=1", "replicates=stacked")
    first = read_metrics(folder)["seeds"][0]
    assert run_quick(tmp_path / "grown", *MANY, "replicates=stacked") == folder
    assert read_metrics(folder)["seeds"][0] == first
    assert_same_record(folder, run_quick(tmp_path / "at_once", *MANY, "replicates=stacked"))


@pytest.mark.parametrize("begun, gone_on", [("stacked", "apart"), ("apart", "stacked")])
def test_what_was_begun_in_one_way_goes_on_in_the_other(begun, gone_on, tmp_path, capsys):
    train_until_checkpoint(
        [*QUICK, *MANY, f"replicates={begun}", f"output_dir={tmp_path / 'killed'}"], tmp_path / "killed"
    )
    capsys.readouterr()
    killed = run_quick(tmp_path / "killed", *MANY, f"replicates={gone_on}")
    assert "goes on from iteration 4" in capsys.readouterr().out
    assert_same_record(killed, run_quick(tmp_path / "whole", *MANY, f"replicates={gone_on}"))


@pytest.fixture
def spoil(monkeypatch):
    """Given seeds: lets them start from weights that are not finite."""
    started = run.prepare

    def spoiling(*seeds):
        def spoiled(config, seed, *rest):
            start = started(config, seed, *rest)
            with torch.no_grad():
                for parameter in start.replicate.model.parameters() if seed in seeds else ():
                    parameter.fill_(torch.nan)
            return start

        monkeypatch.setattr(run, "prepare", spoiled)

    return spoiling


DIVERGED = "The loss is not finite at iteration 1 (learning rate 0.1): lower schedule.learning_rate or choose another init_train."

# Pruned by this much a network alone is trained without its dead units, and by little as it is.
WAYS = {
    "stacked": ["replicates=stacked"],
    "apart": ["replicates=apart"],
    "whole": ["replicates=apart", "sparsity=0.1"],
}


@pytest.mark.parametrize("way", WAYS)
def test_one_seed_that_diverges_leaves_the_others_their_results(way, tmp_path, capsys, monkeypatch, spoil):
    spoil(1)
    command = [*QUICK, *MANY, *WAYS[way], f"output_dir={tmp_path}"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert said.err == f"snip-run: {DIVERGED}\n"
    assert said.out.count(DIVERGED) == 1
    assert f"seed 1: {DIVERGED} The others go on.\n" in said.out
    assert re.search(r"2 of 3 seeds are done: test error [\d.]+ % ± [\d.]+ \(n = 2\)", said.out)
    folder = only_run(tmp_path)
    assert [seed["seed"] for seed in read_metrics(folder)["seeds"]] == [0, 2]
    content = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert set(content["results"]) == set(content["weights"]) == {0, 2}

    monkeypatch.undo()
    assert main(command) == 0
    assert [seed["seed"] for seed in read_metrics(folder)["seeds"]] == [0, 1, 2]
    assert set(json.loads((folder / "env.json").read_text())["images_per_second"]) == {"1"}


@pytest.mark.parametrize(
    ("replicates", "told"), [("stacked", "the unfinished training of seed 1 is kept"), ("apart", "finished already")]
)
def test_what_fewer_seeds_do_not_ask_for_is_kept(replicates, told, tmp_path, capsys, monkeypatch):
    command = [*MANY, f"replicates={replicates}", "schedule.checkpoint_every=2"]
    whole = run_quick(tmp_path / "whole", *command)
    keep = Recorder.keep

    def stop(recorder, training):
        keep(recorder, training)
        if 1 in training:
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "keep", stop)
    assert main([*QUICK, *command, f"output_dir={tmp_path / 'stopped'}"]) == 130
    monkeypatch.undo()
    folder = run_quick(tmp_path / "stopped", *command, "seeds=1")
    assert len(read_metrics(folder)["seeds"]) == 1
    assert told in capsys.readouterr().out
    assert run_quick(tmp_path / "stopped", *command) == folder
    assert "goes on from iteration 2" in capsys.readouterr().out
    assert_same_record(folder, whole)


def parameters_of(training, seed):
    """What is trained of a seed, where it is among those of a training."""
    if not isinstance(training, StackedTrainer):
        return list(training.model.parameters()) if training.seed == seed else []
    return [block[training.seeds.index(seed)] for block in training.stack.blocks if seed in training.seeds]


@pytest.fixture
def spoil_later(monkeypatch):
    """Lets the weights of seed 1 be lost in its sixth iteration."""
    made = run_seed.training_of

    def spoiled(*given):
        training = made(*given)
        done = itertools.count(1)
        if isinstance(training, SparseTrainer):
            advance = training.advance

            def one_by_one(count, meter):
                losses = []
                for _ in range(count):
                    losses.append(advance(1, meter))
                    if training.seed == 1 and next(done) == 6:
                        training.network.weights.fill(numpy.nan)
                return torch.cat(losses)

            training.advance = one_by_one
            return training
        step = training.step

        def spoiling(images, labels):
            losses = step(images, labels)
            for parameter in parameters_of(training, 1) if next(done) == 6 else ():
                parameter.data.fill_(torch.nan)
            return losses

        training.step = spoiling
        return training

    monkeypatch.setattr(run_seed, "training_of", spoiled)


@pytest.mark.parametrize("way", WAYS)
def test_a_seed_that_diverges_later_keeps_its_last_good_checkpoint_while_the_others_go_on(way, tmp_path, spoil_later):
    assert main([*QUICK, *MANY, *WAYS[way], f"output_dir={tmp_path}"]) == 1
    content = torch.load(only_run(tmp_path) / "checkpoint.pt", weights_only=True)
    assert set(content["results"]) == {0, 2}
    state = content["training"][1]["state"]
    assert state["progress"]["iteration"] == 4
    assert all(weight.isfinite().all() for weight in state["model"].values())


@pytest.mark.parametrize("way", WAYS)
def test_where_all_diverge_each_is_told_and_nothing_is_kept(way, tmp_path, capsys, spoil):
    spoil(0, 1, 2)
    assert main([*QUICK, *MANY, *WAYS[way], f"output_dir={tmp_path}"]) == 1
    said = capsys.readouterr()
    assert said.err == f"snip-run: {DIVERGED}\n"
    assert [line for line in said.out.splitlines() if DIVERGED in line] == [
        f"seed 0: {DIVERGED} The others go on.",
        f"seed 1: {DIVERGED} The others go on.",
        f"seed 2: {DIVERGED}",
    ]
    assert not (only_run(tmp_path) / "checkpoint.pt").exists()


@pytest.mark.parametrize("sparsity", [0.1, 0.95])
def test_a_seed_alone_that_diverges_is_told_once(sparsity, tmp_path, capsys, spoil):
    spoil(0)
    assert main([*QUICK, f"sparsity={sparsity}", f"output_dir={tmp_path}"]) == 1
    said = capsys.readouterr()
    assert said.err == f"snip-run: {DIVERGED}\n"
    assert DIVERGED not in said.out


def test_the_curve_of_a_seed_that_diverged_is_kept(tmp_path, spoil_later):
    command = [*QUICK, *MANY, "replicates=apart", "schedule.evaluate_every=2", f"output_dir={tmp_path}"]
    assert main(command) == 1
    with (only_run(tmp_path) / "metrics.csv").open() as file:
        rows = [(row["seed"], row["iteration"]) for row in csv.DictReader(file)]
    assert [iteration for seed, iteration in rows if seed == "1"] == ["2", "4"]
