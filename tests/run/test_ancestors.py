"""Rewinding to an early iteration of the reference, whose weights are kept while it trains or made again later."""

import csv

import pytest
import torch

from snip_cli.commands.snip_run import main
from snip_cli.run import pipeline
from snip_cli.runfolder import checkpoint
from tests.snip_run import QUICK

REWOUND = [*QUICK, "method=imp", "method.scope=global", "method.rewind=3", "sparsity=0.15", "seeds=2"]


def only(top, pattern):
    [found] = top.glob(pattern)
    return found


def assert_equal(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[seed][name], second[seed][name]) for seed in first for name in first[seed])


def test_weights_that_are_kept_on_the_way_are_those_that_are_made_again_later(tmp_path):
    assert main([*REWOUND, f"output_dir={tmp_path / 'kept'}"]) == 0
    assert main([*QUICK, "sparsity=0", "seeds=2", f"output_dir={tmp_path / 'again'}"]) == 0
    assert not list((tmp_path / "again").glob("*/early-3.pt"))
    assert main([*REWOUND, f"output_dir={tmp_path / 'again'}"]) == 0
    kept, again = (checkpoint.load_early(only(tmp_path / name, "reference-*"), 3) for name in ("kept", "again"))
    assert_equal(kept, again)
    kept, again = (checkpoint.load(only(tmp_path / name, "imp-*")) for name in ("kept", "again"))
    assert_equal(kept.masks, again.masks)
    assert_equal(kept.weights, again.weights)


@pytest.mark.parametrize("replicates", ["stacked", "apart"])
def test_training_restarts_from_the_early_weights_and_their_iteration(tmp_path, replicates):
    command = [*REWOUND, f"replicates={replicates}", "schedule.evaluate_every=1", f"output_dir={tmp_path}"]
    assert main(command) == 0
    folder = only(tmp_path, "imp-*")
    with (folder / "metrics.csv").open() as file:
        rows = [int(row["iteration"]) for row in csv.DictReader(file)]
    assert rows == [4, 5, 6, 7, 8] * 2


def test_a_rewound_run_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path, monkeypatch):
    assert main([*REWOUND, f"output_dir={tmp_path / 'whole'}"]) == 0
    save = checkpoint.save

    def stop(folder, saved):
        save(folder, saved)
        if folder.name.startswith("imp-") and saved.training:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop)
    assert main([*REWOUND, f"output_dir={tmp_path / 'stopped'}"]) == 130
    monkeypatch.undo()
    assert main([*REWOUND, f"output_dir={tmp_path / 'stopped'}"]) == 0
    whole, stopped = (checkpoint.load(only(tmp_path / name, "imp-*")).weights for name in ("whole", "stopped"))
    assert_equal(whole, stopped)


def test_an_iteration_that_is_never_reached_is_refused(tmp_path, capsys):
    assert main([*QUICK, "method=imp", "method.rewind=8", "sparsity=0.15", f"output_dir={tmp_path}"]) == 2
    assert "method.rewind=8 is not before the last iteration, 8" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_network_that_rewinds_takes_no_weights_from_outside(tmp_path, capsys):
    assert main([*QUICK, "sparsity=0", f"output_dir={tmp_path}"]) == 0
    given = only(tmp_path, "reference-*") / "checkpoint.pt"
    assert main([*QUICK, "method=imp", "sparsity=0.15", f"pretrained={given}", f"output_dir={tmp_path}"]) == 2
    assert "rewinds to early weights of its own reference: leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("last", ["method.redraw=true", "method.ablation=shuffle_layers"])
def test_an_ablation_of_the_last_round_leaves_the_rounds_before_it_as_they_are(tmp_path, last):
    command = [*QUICK, "method=imp", "method.scope=global", "method.rewind=3", "sparsity=0.3", f"output_dir={tmp_path}"]
    assert main(command) == 0
    assert main([*command, last]) == 0
    names = sorted(path.name.partition("-digits-")[2].partition("-seed")[0] for path in tmp_path.glob("imp-*"))
    assert names == ["s0.199692", "s0.3", "s0.3"]


def test_a_run_that_another_process_has_just_finished_is_not_opened_again(tmp_path, monkeypatch, capsys):
    """As after waiting for its lock."""
    command = [*QUICK, "method=imp", "sparsity=0.15", f"output_dir={tmp_path}"]
    assert main([*QUICK, "sparsity=0", f"output_dir={tmp_path}"]) == 0
    environment = only(tmp_path, "reference-*") / "env.json"
    before, finished = environment.read_text(), pipeline.is_finished
    asked = []

    def not_at_first(config, group):
        asked.append(config)
        return finished(config, group) and sum(one.is_reference for one in asked) != 1

    monkeypatch.setattr(pipeline, "is_finished", not_at_first)
    assert main(command) == 0
    assert "first its reference" in capsys.readouterr().out
    assert environment.read_text() == before
