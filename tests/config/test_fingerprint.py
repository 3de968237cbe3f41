"""A run's folder: a name that is the same wherever the result is, and another where it is not."""

import os
import re
import subprocess
import sys

import pytest

from snip_cli.config import schema as configuration
from tests.config.test_schema import config_of


def test_the_folder_is_told_by_readable_names_and_a_short_hash():
    folder = config_of({"seed": 3}).folder
    assert re.fullmatch(r"snip-lenet_5_caffe-mnist-s0\.9-seed3-[0-9a-f]{8}", folder.name)
    assert str(folder.parent) == "runs"


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": 7},
        {"device": "cpu"},
        {"dry_run": True},
        {"dataset.root": "elsewhere"},
        {"dataset.workers": 0},
        {"compile": True},
        {"deterministic": True},
        {"compact": True},
        {"replicates": "together"},
        # Settings at the values that they had before there was a name for them.
        {"dataset.held_out": 0.1, "dataset.augmentation": "none", "dataset.translate_pixels": 4, "dataset.sizes": []},
        {"model.weights": "", "schedule.nesterov": False, "schedule.warmup": 0, "sync_batchnorm": False},
        {"schedule.optimizer": "sgd", "schedule.train_error": False},
        {"method.classes": [], "dataset.random_labels": False},
        {"schedule.name": "another name"},
        {"schedule.checkpoint_every": 3},
        {"eval": "runs/some-folder"},
        {
            "method": {
                "ema_decay": 0.9,
                "accumulate": "sum",
                "batches": 1,
                "batch_size": 100,
                "redraw": True,
                "name": "snip",
            }
        },
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_folder_does_not_depend_on_what_leaves_the_result_alone(changes):
    assert config_of(changes).folder == config_of().folder


def test_output_dir_moves_the_folder_and_keeps_its_name():
    moved = config_of({"output_dir": "elsewhere"}).folder
    assert (str(moved.parent), moved.name) == ("elsewhere", config_of().folder.name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("sparsity", 0.95),
        ("dtype", "float64"),
        ("dataset.name", "digits"),
        ("dataset.split_seed", 8),
        ("model.name", "lenet_300_100"),
        ("model.conv_relu", False),
        ("method.name", "random"),
        ("method.batch_size", 10),
        ("method.batches", 2),
        ("method.accumulate", "ema"),
        ("init.std", 0.25),
        ("init_train.name", "vs_h"),
        ("schedule.iterations", 99),
        ("schedule.batch_size", 99),
        ("schedule.learning_rate", 0.2),
        ("schedule.momentum", 0.0),
        ("schedule.weight_decay", 0.0),
        ("schedule.milestones", [25]),
        ("schedule.decay", 0.5),
        ("schedule.evaluate_every", 5),
        ("schedule.nesterov", True),
        ("schedule.warmup", 5),
        ("schedule.train_error", True),
        ("method.classes", [3]),
        ("dataset.random_labels", True),
        ("dataset.held_out", 0.2),
        ("dataset.augmentation", "flip_translate"),
        ("dataset.sizes", [14, 28]),
        ("dataset.folder", "mine"),
        ("model.weights", "weights.pt"),
        ("sync_batchnorm", True),
    ],
)
def test_the_folder_depends_on_all_that_determines_the_result(key, value):
    assert config_of({key: value}).folder.name != config_of().folder.name


@pytest.mark.parametrize(("key", "whole", "number"), [("schedule.momentum", 0, 0.0), ("init.std", 1, 1.0)])
def test_a_number_written_without_its_point_leads_to_the_same_folder(key, whole, number):
    assert config_of({key: whole}).folder == config_of({key: number}).folder


def test_the_reference_is_one_for_all_methods_and_names_none():
    reference = config_of({"sparsity": 0.0})
    assert re.fullmatch(r"reference-lenet_5_caffe-mnist-seed0-[0-9a-f]{8}", reference.folder.name)
    for changes in ({"method": {"name": "random"}}, {"method.batches": 4}, {"init": {"name": "vs_h"}}, {"sparsity": 0}):
        assert config_of({"sparsity": 0.0} | changes).folder == reference.folder
    assert (reference.method_name, reference.is_reference) == ("reference", True)


def test_the_reference_depends_on_how_its_weights_start():
    other = config_of({"sparsity": 0.0, "init_train": {"name": "vs_h"}})
    assert other.folder != config_of({"sparsity": 0.0}).folder


def test_the_folder_is_the_same_in_another_process_which_needs_no_torch(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(configuration.to_yaml(config_of()))
    code = "import sys; from pathlib import Path; from snip_cli.config import schema as config; "
    code += "print(config.read(Path(sys.argv[1])).folder, 'torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(path)]
    other = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    assert other.stdout.split() == [str(config_of().folder), "False"]
