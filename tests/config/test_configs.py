"""Every YAML file that is shipped composes, says how it is used, and runs briefly."""

import dataclasses

import pytest
from omegaconf import OmegaConf

from snip_cli import registry
from snip_cli.commands.snip_run import main
from snip_cli.config.composition import CONFIGS, composer
from snip_cli.config.reading import NO_SETTINGS, SECTIONS, load
from snip_cli.config.renamed import rename_settings
from snip_cli.config.schema import Config

FILES = sorted(path.relative_to(CONFIGS) for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "hydra")
CHOICES = {group: sorted(p.stem for p in (CONFIGS / group).glob("*.yaml")) for group in {str(f.parent) for f in FILES}}


def command(file):
    """The arguments of the command in a file's first line."""
    lines = (CONFIGS / file).read_text().splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert first.startswith("# snip-run ")
    return first.split()[2:]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_its_first_line_is_a_command_that_chooses_it(file):
    assert f"{file.parent}={file.stem}" in command(file)


@pytest.mark.parametrize("file", [f for f in FILES if str(f.parent) != "experiment"], ids=str)
def test_its_command_composes_and_fits_together(file, capsys):
    assert main([*command(file), "dry_run=true"]) == 0
    assert "total m" in capsys.readouterr().out


@pytest.mark.parametrize("name", CHOICES["experiment"])
def test_every_experiment_runs_briefly(name, tmp_path):
    short = ["schedule.iterations=2", "schedule.evaluate_every=2", "device=cpu"]
    assert main([f"experiment={name}", "dataset=digits", *short, f"output_dir={tmp_path}"]) == 0
    assert list(tmp_path.glob("*/metrics.json"))


@pytest.mark.parametrize(
    "group, kind",
    [
        ("method", registry.methods),
        ("model", registry.models),
        ("dataset", registry.datasets),
        ("init", registry.initialisers),
    ],
)
def test_every_registered_name_has_its_yaml(group, kind):
    assert CHOICES[group] == kind.names()


def test_both_initialisers_have_the_same_choices():
    assert CHOICES["init"] == CHOICES["init_train"]


def test_debug_short_runs_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["debug=short", "dataset=digits"]) == 0
    assert list((tmp_path / "runs_debug").glob("*/metrics.json"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("batch", "rate", "iterations"), [(256, 0.1, 445_906), (512, 0.2, 222_953), (1024, 0.4, 111_477)]
)
def test_the_imagenet_schedule_scales_with_its_batch(batch, rate, iterations):
    with composer(None) as compose:
        schedule = load(compose.compose(["schedule=imagenet_90", f"schedule.batch_size={batch}"])).schedule
    assert (schedule.learning_rate, schedule.iterations) == (pytest.approx(rate), iterations)
    epochs = [milestone * batch / 1_268_355 for milestone in (schedule.warmup, *schedule.milestones)]
    assert epochs == pytest.approx([5, 30, 60, 80], abs=0.001)


@pytest.mark.parametrize("section", ["", *SECTIONS])
def test_the_readme_explains_every_setting(section):
    text = (CONFIGS / "README.md").read_text()
    part = text[text.index(f"`{section}`") :] if section else text
    for spec in dataclasses.fields(SECTIONS.get(section, Config)):
        assert spec.name in NO_SETTINGS or f"`{spec.name}`" in part, f"configs/README.md lacks {section}.{spec.name}"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_shipped_file_uses_an_old_spelling(file):
    values = OmegaConf.to_container(OmegaConf.load(CONFIGS / file), resolve=False)
    group = "" if (CONFIGS / file).read_text().startswith("# @package _global_") else str(file.parent)
    assert rename_settings(values, group, silent=True) == values


DATASETS = {"lenet": "mnist", "lstm": "mnist", "gru": "mnist", "resnet50": "ilsvrc2012"}
SCHEDULES = {"mnist": "lenet", "cifar10": "cifar_snip", "ilsvrc2012": "imagenet_90"}


@pytest.mark.parametrize("model", CHOICES["model"])
def test_a_model_brings_its_data_set_and_that_its_schedule(model):
    dataset = DATASETS.get(model, DATASETS.get(model.partition("_")[0], "cifar10"))
    with composer(None) as compose:
        composed = compose.compose([f"model={model}"])
        assert (composed.dataset.name, composed.schedule.name) == (dataset, SCHEDULES[dataset])
        assert compose.unusual(composed) is None


@pytest.mark.parametrize(
    ("overrides", "dataset", "schedule"),
    [
        ([], "mnist", "lenet"),
        (["model=vgg_d", "dataset=mnist"], "mnist", "lenet"),
        (["dataset=tiny_imagenet", "model=vgg_d"], "tiny_imagenet", "cifar_snip"),
        (["model=vgg_d", "schedule=quick"], "cifar10", "quick"),
        (["model=vgg_d", "experiment=table1_lenet_5_caffe"], "mnist", "lenet"),
        (["experiment=quickstart"], "digits", "quick"),
    ],
)
def test_the_command_line_and_an_experiment_win_over_the_models_data_set(overrides, dataset, schedule):
    with composer(None) as compose:
        composed = compose.compose(overrides)
        assert (composed.dataset.name, composed.schedule.name) == (dataset, schedule)


def test_images_of_another_shape_than_those_of_the_models_data_set_are_unusual():
    with composer(None) as compose:
        assert compose.unusual(compose.compose(["model=vgg_d", "dataset=mnist"])) == (
            "unusual: model=vgg_d is meant for dataset=cifar10 (3×32×32) and gets dataset=mnist (1×28×28)"
        )
        assert compose.unusual(compose.compose(["model=lenet_5_caffe", "dataset=fashion_mnist"])) is None
        sweep = compose.sweep(["model=vgg_c,lenet_300_100", "sparsity=0,0.9", "dataset=digits"])
        assert [note.split()[1] for note in sweep.notes] == ["model=vgg_c"]
