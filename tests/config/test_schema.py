import copy
import dataclasses
import re

import pytest
from omegaconf import OmegaConf

from snip_cli.config import reading
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError

VALUES = {
    "dataset": {"name": "mnist", "root": "data", "shape": [1, 28, 28], "classes": 10, "split_seed": 9},
    "model": {"name": "lenet_5_caffe", "conv_relu": True},
    "method": {"name": "snip", "redraw": True, "batch_size": 100, "batches": 1, "accumulate": "sum", "ema_decay": 0.9},
    "init": {"name": "rn", "std": 0.5},
    "init_train": {"name": "vs_x"},
    "schedule": {
        "name": "lenet",
        "iterations": 100,
        "batch_size": 100,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "milestones": [25, 50],
        "decay": 0.1,
        "evaluate_every": 10,
        "checkpoint_every": 20,
    },
    "sparsity": 0.9,
    "seed": 0,
    "seeds": 1,
    "device": "auto",
    "dtype": "float32",
    "output_dir": "runs",
    "dry_run": False,
    "eval": None,
    "hydra": {"run": {"dir": "."}},
}
GONE = object()


def config_of(changes=None):
    """Return the configuration with values changed by their dotted keys; GONE removes a key."""
    values = copy.deepcopy(VALUES)
    for key, value in (changes or {}).items():
        *groups, last = key.split(".")
        place = values
        for group in groups:
            place = place[group]
        if value is GONE:
            del place[last]
        else:
            place[last] = value
    return reading.load(OmegaConf.create(values))


def error_of(changes):
    with pytest.raises(ConfigError) as refusal:
        config_of(changes)
    return str(refusal.value)


def test_unknown_keys_of_a_section_become_its_options():
    config = config_of()
    assert (config.schedule.learning_rate, config.schedule.milestones) == (0.1, [25, 50])
    assert config.method.options == {"accumulate": "sum", "ema_decay": 0.9}
    assert (config.model.options, config.init.options) == ({"conv_relu": True}, {"std": 0.5})


WRONG = [
    (
        "sparsity",
        1.0,
        r"sparsity must be a number in \[0, 1\): got 1\.0\. For 90 %, write sparsity=0\.9\.",
    ),
    ("sparsity", 1, r"sparsity must be a number in \[0, 1\): got 1\.0\. For 90 %, write sparsity=0\.9\."),
    ("sparsity", 95, r"sparsity must be a number in \[0, 1\): got 95\.0\. For 95 %, write sparsity=0\.95\."),
    ("sparsity", "90%", r"sparsity must be a number in \[0, 1\): got '90%'\. For 90 %, write sparsity=0\.9\."),
    (
        "sparsity",
        "99.5 %",
        r"sparsity must be a number in \[0, 1\): got '99\.5 %'\. For 99\.5 %, write sparsity=0\.995\.",
    ),
    ("sparsity", "0.5%", r"sparsity must be a number in \[0, 1\): got '0\.5%'\. For 0\.5 %, write sparsity=0\.005\."),
    ("sparsity", "100%", r"sparsity must be a number in \[0, 1\): got '100%'\. For 90 %, write sparsity=0\.9\."),
    ("sparsity", 99.99999, r"sparsity must .* got 99\.99999\. For 99\.99999 %, write sparsity=0\.9999999\."),
    ("sparsity", -0.1, r"sparsity must be a number in \[0, 1\): got -0\.1\. For 90 %, write sparsity=0\.9\."),
    ("sparsity", float("nan"), r"sparsity must be a number in \[0, 1\): got nan\. For 90 %, write sparsity=0\.9\."),
    ("sparsity", 10**400, r"sparsity must be a number.*"),
    ("sparsity", "abc", r"sparsity must be a number: got 'abc'\."),
    ("sparsity", None, r"sparsity must be a number: got None\."),
    ("sparsity", True, r"sparsity must be a number: got True\."),
    ("seed", -1, r"seed must be 0 or more: got -1\."),
    ("seed", 1.5, r"seed must be a whole number: got 1\.5\."),
    ("seed", True, r"seed must be a whole number: got True\."),
    ("seeds", 0, r"seeds, the number of replicates, must be at least 1: got 0\."),
    ("device", "tpu", r"device must be one of auto, cpu, cuda: got 'tpu'\."),
    ("dtype", "float16", r"dtype must be one of float32, float64, bfloat16: got 'float16'\."),
    ("output_dir", "", r"output_dir must be a folder: got ''\. Write output_dir=runs\."),
    ("dry_run", "yes", r"dry_run must be true or false: got 'yes'\."),
    ("dataset.split_seed", -1, r"dataset\.split_seed must be in \[0, 2\^32\): got -1\."),
    ("dataset.split_seed", 2**32, r"dataset\.split_seed must be in \[0, 2\^32\): got 4294967296\."),
    ("dataset.shape", [1, 28.0, 28], r"dataset\.shape must be a list of whole numbers: got \[1, 28\.0, 28\]\."),
    ("dataset.name", None, r"dataset\.name must be a word: got None\."),
    ("method.batch_size", 0, r"method\.batch_size must be at least 1: got 0\."),
    ("method.classes", [3, 10], r"method\.classes must be classes of mnist, 0 to 9: got \[10\]\."),
    (
        "method.classes",
        3,
        r"method\.classes must be a list of whole numbers: got 3\. Write 'method\.classes=\[3\]'\.",
    ),
    (
        "method",
        {"name": "snip", "classes": [3], "samples_per_class": 2},
        r"method\.classes and method\.samples_per_class both .*",
    ),
    ("method.batches", 0, r"method\.batches must be at least 1: got 0\."),
    ("method.redraw", 1, r"method\.redraw must be true or false: got 1\."),
    ("schedule.iterations", -1, r"schedule\.iterations must be 0 \(no training\) or more: got -1\."),
    ("schedule.batch_size", 0, r"schedule\.batch_size must be at least 1: got 0\."),
    ("schedule.evaluate_every", 0, r"schedule\.evaluate_every must be at least 1: got 0\."),
    ("schedule.checkpoint_every", -3, r"schedule\.checkpoint_every must be at least 1: got -3\."),
    ("schedule.learning_rate", 0, r"schedule\.learning_rate must be positive and finite: got 0\.0\."),
    ("schedule.learning_rate", float("inf"), r"schedule\.learning_rate must be positive and finite: got inf\."),
    ("schedule.learning_rate", float("nan"), r"schedule\.learning_rate must be positive and finite: got nan\."),
    ("schedule.momentum", 1.0, r"schedule\.momentum must be in \[0, 1\): got 1\.0\."),
    ("schedule.momentum", -0.1, r"schedule\.momentum must be in \[0, 1\): got -0\.1\."),
    ("schedule.weight_decay", -0.1, r"schedule\.weight_decay must be 0 or more: got -0\.1\."),
    ("schedule.decay", 0.0, r"schedule\.decay must be in \(0, 1\]: got 0\.0\."),
    ("schedule.decay", 1.1, r"schedule\.decay must be in \(0, 1\]: got 1\.1\."),
    ("schedule.milestones", [50, 25], r"schedule\.milestones must be positive and increasing: got \[50, 25\]\."),
    ("schedule.milestones", [25, 25], r"schedule\.milestones must be positive and increasing: got \[25, 25\]\."),
    ("schedule.milestones", [0, 25], r"schedule\.milestones must be positive and increasing: got \[0, 25\]\."),
    (
        "schedule.milestones",
        25,
        r"schedule\.milestones must be a list of whole numbers: got 25\. Write 'schedule\.milestones=\[25\]'\.",
    ),
    ("schedule.label_smoothing", 1.0, r"schedule\.label_smoothing must be in \[0, 1\): got 1\.0\."),
    ("schedule.label_smoothing", -0.1, r"schedule\.label_smoothing must be in \[0, 1\): got -0\.1\."),
    ("schedule.label_smoothing", float("nan"), r"schedule\.label_smoothing must be in \[0, 1\): got nan\."),
    ("schedule.label_smoothing", "yes", r"schedule\.label_smoothing must be a number: got 'yes'\."),
    ("schedule.anneal", "cos", r"schedule\.anneal must be one of step, cosine, linear: got 'cos'\."),
    (
        "schedule.decay",
        "cosine",
        r"schedule\.decay is the factor at each milestone, a number in \(0, 1\]: got 'cosine'\. Write schedule\.anneal=cosine\.",
    ),
    ("sparsty", 0.9, r"There is no setting 'sparsty' \(did you mean 'sparsity'\?\); `snip-run --help` lists them\."),
    (
        "schedule.warmpu",
        3,
        r"There is no setting 'schedule\.warmpu' \(did you mean 'warmup'\?\); schedule has: name, iterations, .*\.",
    ),
    ("schedule.warmup", -1, r"schedule\.warmup must be 0 or more iterations: got -1\."),
    ("schedule.nesterov", 1, r"schedule\.nesterov must be true or false: got 1\."),
    (
        "schedule.optimizer",
        "adam",
        r"schedule\.momentum must be 0 with schedule\.optimizer=adam: got 0\.9\. Set .*=0, and .* to about 0\.001\.",
    ),
    ("schedule.optimizer", "lamb", r"schedule\.optimizer must be one of sgd, adam: got 'lamb'\."),
    ("dataset.held_out", 1.0, r"dataset\.held_out must be in \(0, 1\): got 1\.0\."),
    ("dataset.augmentation", "flip", r"dataset\.augmentation must be one of none, flip_translate, .*: got 'flip'\."),
    ("dataset.translate_pixels", -1, r"dataset\.translate_pixels must be 0 or more: got -1\."),
    ("dataset.sizes", [64, 0], r"dataset\.sizes must be positive numbers of pixels: got \[64, 0\]\."),
    ("dataset.workers", -1, r"dataset\.workers must be 0 or more: got -1\."),
    ("compile", "yes", r"compile must be true or false: got 'yes'\."),
    ("model.name", GONE, r"The configuration of model has no name: add it to its YAML\."),
    ("schedule.decay", GONE, r"The configuration of schedule has no decay: add it to its YAML\."),
    ("method", GONE, r"method must be chosen, as in method=NAME; `snip-run --help` lists the choices\."),
    ("model", "lenet", r"model must be chosen, as in model=NAME; `snip-run --help` lists the choices\."),
    ("output_dir", "${nowhere}", r"The configuration cannot be resolved: .*nowhere.*\."),
    (
        "method.redraw",
        False,
        r"method\.redraw=false .*so init and init_train must agree: got rn and vs_x, .*\. Set both to rn\.",
    ),
]


@pytest.mark.parametrize(("key", "value", "sentence"), WRONG, ids=[f"{key}={value!r:.20}" for key, value, _ in WRONG])
def test_an_error_says_what_was_given_and_what_is_allowed(key, value, sentence):
    error = error_of({key: value})
    assert re.fullmatch(sentence, error)
    assert "\n" not in error


@pytest.mark.parametrize(
    "changes",
    [
        {"sparsity": 0},
        {"sparsity": 0.999999},
        {"seed": 10**12},
        {"schedule.milestones": []},
        {"schedule.milestones": [1000]},
        {"schedule.momentum": 0, "schedule.weight_decay": 0, "schedule.decay": 1},
        {"dataset.split_seed": 2**32 - 1},
        {"method.redraw": GONE, "method.batch_size": GONE, "method.batches": GONE},
        {"method.redraw": False, "init": {"name": "vs_x"}},
        {"method.redraw": False, "sparsity": 0.0},
    ],
)
def test_values_at_the_limits_are_allowed(changes):
    assert isinstance(config_of(changes), Config)


def test_the_saliency_batch_is_as_large_as_a_training_batch_by_default():
    assert config_of({"method.batch_size": GONE, "schedule.batch_size": 7}).method.batch_size == 7


def test_initialisers_with_different_options_are_different():
    changes = {"method.redraw": False, "init": {"name": "rn", "std": 0.5}, "init_train": {"name": "rn", "std": 1.0}}
    assert "init and init_train must agree" in error_of(changes)


def test_the_learning_rate_is_multiplied_at_each_milestone():
    schedule = config_of().schedule
    rates = [schedule.rate_at(iteration) for iteration in (0, 24, 25, 49, 50, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-15)


def test_during_the_warm_up_the_rate_rises_in_equal_steps_to_its_full_value():
    schedule = config_of({"schedule.warmup": 4}).schedule
    rates = [schedule.rate_at(iteration) for iteration in range(6)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rel=1e-15)


def test_seeds_count_from_the_first():
    assert config_of({"seed": 5, "seeds": 3}).all_seeds == [5, 6, 7]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sparsity": 0, "seeds": 20, "dtype": "float64", "dry_run": True},
        {"schedule.learning_rate": 1e-05, "schedule.milestones": [], "init.std": 1e-20},
        {"output_dir": "a folder: with #odd 'words'", "dataset.root": "1e3", "method.accumulate": "null"},
        {"output_dir": "0123", "model.name": "yes", "method.anything": [1, {"a": None}]},
    ],
)
def test_yaml_that_was_written_is_read_back(changes, tmp_path):
    config = config_of(changes)
    path = tmp_path / "config.yaml"
    path.write_text(reading.to_yaml(config))
    assert reading.read(path) == config
    assert reading.read(path).folder == config.folder


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\xfa", b"just a word", b"- a\n- list\n", b""])
def test_a_file_that_is_not_a_configuration_is_refused(content, tmp_path):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError):
        reading.read(tmp_path / "config.yaml")


def test_the_error_names_a_missing_configuration(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.yaml does not exist: name a run's folder"):
        reading.read(tmp_path / "config.yaml")


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config_of().sparsity = 0.5
