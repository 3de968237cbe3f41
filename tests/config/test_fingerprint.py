"""The name of a run's folder: one name for each result, which no new setting may move."""

import dataclasses
import os
import re
import subprocess
import sys

import pytest

from snip_cli.config import reading
from snip_cli.config.composition import composer
from snip_cli.config.renamed import rename_override
from snip_cli.config.schema import Config
from snip_cli.config.sections import Dataset, Init, Method, Model, Schedule
from snip_cli.models.pretrained import with_weights_hash
from tests.config.test_schema import config_of

ADVICE = """
A change has moved the folder of this run, so that finished runs would be made again under a new name.
- You added a setting: declare it with `field(default=..., metadata=hashed("unless default"))`, where the default does what was done
  before; or with `hashed("never")` if it does not change the result.
- You renamed a setting: add `name="its_old_name"` to its `hashed(...)`, and a line to snip_cli/config/renamed.py.
- You changed a value in configs/ because its results should be others: only then change the name in this test."""

# Named by the commit e1fe8d6, from the settings as they were spelled then.
PINNED = {
    "": "snip-lenet_300_100-mnist-s0.9-seed0-4b4094e0",
    "method=random model=lenet_5_caffe sparsity=0.99 seed=3 dtype=float64": "random-lenet_5_caffe-mnist-s0.99-seed3-a4f01db8",
    "sparsity=0": "reference-lenet_300_100-mnist-seed0-58c38820",
    "sparsity=0 model=vgg_d dataset=cifar10 init_train=rn init_train.std=0.05 dtype=bfloat16": "reference-vgg_d-cifar10-seed0-cb711911",
    "method=snacs model=lenet_5_caffe sparsity=auto": "snacs-lenet_5_caffe-mnist-sauto-seed0-6c8b9cd3",
    "method=mint model=vgg16 dataset=cifar10 schedule=cifar_300 sparsity=0.5 method.groups=16": "mint-vgg16-cifar10-s0.5-seed0-4f02bcce",
    "method=l1_filter model=lenet_5_caffe sparsity=0.5 schedule@dense_schedule=lenet dense_schedule.iterations=7": "l1_filter-lenet_5_caffe-mnist-s0.5-seed0-015f5785",
    "method=snacs model=lenet_5_caffe schedule@dense_schedule=lenet_adam schedule.nesterov=true": "snacs-lenet_5_caffe-mnist-s0.9-seed0-1889e89a",
    "method.sanity=shuffle_layers sparsity=0.98": "snip-lenet_300_100-mnist-s0.98-seed0-72a61f4f",
    "method.sanity=redraw method.redraw=false": "snip-lenet_300_100-mnist-s0.9-seed0-4b4094e0",
    "method=random method.sanity=invert": "random-lenet_300_100-mnist-s0.9-seed0-93fa4ef0",
    "sparsity=0.5 method.batches=3 method.accumulate=ema method.classes=[3]": "snip-lenet_300_100-mnist-s0.5-seed0-60528b64",
    "model=gru_s schedule=lenet_adam init=vs_h sparsity=0.95": "snip-gru_s-mnist-s0.95-seed0-bb4cfd92",
    "model=resnet50 dataset=ilsvrc2012 sync_batchnorm=true schedule.batch_size=512": "snip-resnet50-ilsvrc2012-s0.9-seed0-52f522da",
    "method=snacs model=resnet50 dataset=ilsvrc2012 pretrained=IMAGENET1K_V1 method.pairs=published method.samples_per_class=5": "snacs-resnet50-ilsvrc2012-s0.9-seed0-3b0eb48a",
    "method=magnitude +method.trained=true sparsity=0.9": "magnitude-lenet_300_100-mnist-s0.9-seed0-a7be78a1",
    "dataset=image_folder dataset.folder=F dataset.size=64 dataset.classes=3 +dataset.sizes=[32,64] model=vgg_d": "snip-vgg_d-image_folder-s0.9-seed0-102eb62e",
    "dataset=tiny_imagenet model=wrn_16_8 dataset.random_labels=true dataset.augmentation=none schedule.train_error=true schedule.warmup=100": "snip-wrn_16_8-tiny_imagenet-s0.9-seed0-85e2a72f",
    "pretrained=weights.pt method.redraw=false": "snip-lenet_300_100-mnist-s0.9-seed0-c914698d",
    # Settings that do not change the result.
    "seeds=20 device=cpu output_dir=elsewhere dry_run=true compile=true deterministic=true compact=true replicates=together dataset.root=here +dataset.workers=1 schedule.checkpoint_every=3": "snip-lenet_300_100-mnist-s0.9-seed0-4b4094e0",
}


@pytest.mark.parametrize("command", PINNED)
def test_a_folder_keeps_the_name_that_earlier_versions_gave_it(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_text("weights of another program")
    with composer(None) as compose:
        composed = compose.compose([rename_override(override) for override in command.split()])
    assert with_weights_hash(reading.load(composed)).folder.name == PINNED[command], ADVICE


def test_the_reference_of_a_method_keeps_its_name_too():
    with composer(None) as compose:
        composed = compose.compose(["method=l1_filter", "schedule@dense_schedule=lenet", "dense_schedule.iterations=7"])
    assert reading.load(composed).reference.folder.name == "reference-lenet_300_100-mnist-seed0-18a1f8a7", ADVICE


@pytest.mark.parametrize("section", [Config, Dataset, Init, Method, Model, Schedule])
def test_every_setting_with_a_default_says_how_it_is_hashed(section):
    for spec in dataclasses.fields(section):
        has_default = spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING
        assert not has_default or "when" in spec.metadata, f"{section.__name__}.{spec.name}: {ADVICE}"


def test_without_the_hash_of_its_weights_a_run_has_no_folder():
    config = config_of({"model.weights": "weights.pt"})
    with pytest.raises(RuntimeError, match="with_weights_hash"):
        _ = config.folder


def test_the_hash_of_the_weights_is_not_written_to_the_run_folder():
    config = with_weights_hash(config_of({"model.weights": "weights.pt"}))
    assert config.model.weights_hash == "weights.pt"
    assert "weights_hash" not in reading.to_yaml(config)


def test_the_folder_has_readable_names_and_a_short_hash():
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
        {"replicates": "stacked"},
        # Settings that were added later, at their defaults.
        {"dataset.held_out": 0.1, "dataset.augmentation": "none", "dataset.translate_pixels": 4, "dataset.sizes": []},
        {"model.weights": "", "schedule.nesterov": False, "schedule.warmup": 0, "sync_batchnorm": False},
        {"schedule.optimizer": "sgd", "schedule.train_error": False},
        {"schedule.anneal": "step", "schedule.label_smoothing": 0.0},
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
def test_the_folder_does_not_depend_on_settings_that_do_not_change_the_result(changes):
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
        ("schedule.anneal", "cosine"),
        ("schedule.label_smoothing", 0.1),
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
def test_the_folder_depends_on_every_setting_that_determines_the_result(key, value):
    assert with_weights_hash(config_of({key: value})).folder.name != config_of().folder.name


@pytest.mark.parametrize(("key", "whole", "number"), [("schedule.momentum", 0, 0.0), ("init.std", 1, 1.0)])
def test_a_whole_number_may_be_written_without_a_point(key, whole, number):
    assert config_of({key: whole}).folder == config_of({key: number}).folder


def test_all_methods_share_one_reference():
    reference = config_of({"sparsity": 0.0})
    assert re.fullmatch(r"reference-lenet_5_caffe-mnist-seed0-[0-9a-f]{8}", reference.folder.name)
    for changes in ({"method": {"name": "random"}}, {"method.batches": 4}, {"init": {"name": "vs_h"}}, {"sparsity": 0}):
        assert config_of({"sparsity": 0.0} | changes).folder == reference.folder
    assert (reference.method_name, reference.is_reference) == ("reference", True)


def test_the_reference_depends_on_its_initialiser():
    other = config_of({"sparsity": 0.0, "init_train": {"name": "vs_h"}})
    assert other.folder != config_of({"sparsity": 0.0}).folder


def test_the_folder_is_the_same_in_another_process_and_needs_no_torch(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(reading.to_yaml(config_of()))
    code = "import sys; from pathlib import Path; from snip_cli.config import reading; "
    code += "print(reading.read(Path(sys.argv[1])).folder, 'torch' in sys.modules)"
    command = [sys.executable, "-c", code, str(path)]
    other = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    assert other.stdout.split() == [str(config_of().folder), "False"]
