"""Rewinding to an early iteration of the reference, whose weights are kept while it trains or made again later."""

import csv
import json

import pytest
import torch

from snip_cli.commands.snip_run import main
from snip_cli.config.reading import read
from snip_cli.run.seed import model_to_train
from snip_cli.runfolder import checkpoint
from snip_cli.runtime.processes import SINGLE_PROCESS
from tests.snip_run import QUICK, start, wait_until

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
def test_an_ablation_concerns_the_last_round_alone(tmp_path, last):
    command = [*QUICK, "method=imp", "method.scope=global", "method.rewind=3", "sparsity=0.3"]
    assert main([*command, f"output_dir={tmp_path / 'plain'}"]) == 0
    assert main([*command, last, f"output_dir={tmp_path / 'other'}"]) == 0
    plain, other = (only(tmp_path / name, "imp-*-s0.199692-*") for name in ("plain", "other"))
    assert plain.name == other.name
    assert_equal(checkpoint.load(plain).weights, checkpoint.load(other).weights)
    plain, other = (only(tmp_path / name, "imp-*-s0.3-*") for name in ("plain", "other"))
    assert plain.name != other.name


@pytest.mark.parametrize("last", [[], ["method.redraw=true"]])
def test_a_rewinding_that_an_earlier_round_cannot_do_is_refused_before_any_work(tmp_path, capsys, last):
    command = [*QUICK, "method=imp", "method.rewind=20", "sparsity=0.4", f"output_dir={tmp_path}", *last]
    assert main(command) == 2
    assert "method.rewind=20 is not before the last iteration, 8" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_reference_that_another_process_finished_meanwhile_is_not_opened_again(tmp_path):
    """Two chains of rounds start together: the second waits for the reference of the first, and leaves it as it is."""
    command = [*QUICK, "method=imp", "schedule.iterations=400", f"output_dir={tmp_path}"]
    first = start([*command, "sparsity=0.15"])
    wait_until(lambda: list(tmp_path.glob("reference-*/checkpoint.pt")))
    second = start([*command, "sparsity=0.1"])
    said = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    environment = json.loads((only(tmp_path, "reference-*") / "env.json").read_text())
    assert "earlier" not in environment and environment["images_per_second"]["0"] > 0
    assert "reference · " in said[0] and "reference · " not in said[1]


def test_weights_that_are_rewound_in_float64_are_not_rounded(tmp_path):
    command = [*QUICK, "dtype=float64", f"output_dir={tmp_path}", "method=imp", "method.rewind=3", "sparsity=0.15"]
    assert main([*command, "schedule.evaluate_every=1", "schedule.checkpoint_every=100"]) == 0
    early = checkpoint.load_early(only(tmp_path, "reference-*"), 3)[0]
    assert any((weight != weight.float().double()).any() for weight in early.values())
    config = read(only(tmp_path, "imp-*") / "config.yaml")
    model = model_to_train(config, 0, torch.device("cpu"), None, SINGLE_PROCESS)
    assert all(torch.equal(tensor, early[name]) for name, tensor in model.state_dict().items())


def test_a_damaged_file_of_early_weights_is_named_with_the_remedy(tmp_path, capsys):
    assert main([*REWOUND, f"output_dir={tmp_path}"]) == 0
    path = only(tmp_path, "reference-*") / "early-3.pt"
    path.write_bytes(b"damaged")
    assert main([*REWOUND[:-2], "sparsity=0.1", f"output_dir={tmp_path}"]) == 2
    assert f"{path} is damaged" in (said := capsys.readouterr().err)
    assert "delete this file, and the same command makes it again" in said
    path.unlink()
    assert main([*REWOUND[:-2], "sparsity=0.1", f"output_dir={tmp_path}"]) == 0
