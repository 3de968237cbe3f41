"""Networks of torchvision and timm by name, and models of one's own that are not called as they are defined."""

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from snip_cli import registry
from snip_cli.commands.snip_run import main
from snip_cli.config.composition import composer
from snip_cli.config.reading import load, read, to_yaml
from snip_cli.errors import ConfigError
from snip_cli.models.building import build_model, weightless_model

RGB = (3, 32, 32)


def config_of(*overrides):
    with composer(None) as compose:
        return load(compose.compose(list(overrides)))


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "densenet121", "shufflenet_v2_x0_5", "vit_b_32", "googlenet"]
)
def test_a_network_of_torchvision_has_an_output_for_each_class(name):
    size = 64 if name in ("vit_b_32", "googlenet") else 32
    model = weightless_model(config_of(f"model=torchvision/{name}", f"dataset.shape=[3,{size},{size}]"))
    assert model(torch.empty(2, 3, size, size, device="meta")).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "conv", "shape"),
    [
        ("resnet18", "conv1", (64, 3, 3, 3)),
        ("densenet121", "features.conv0", (64, 3, 3, 3)),
        ("mobilenet_v2", "features.0.0", (32, 3, 3, 3)),
    ],
)
def test_the_stem_for_cifar_keeps_the_pixels(name, conv, shape):
    with torch.device("meta"):
        models = [registry.models[f"torchvision.{name}"](RGB, 10, stem=stem) for stem in ("imagenet", "cifar")]
        sizes = []
        for model in models:
            model.get_submodule(conv).register_forward_hook(lambda _, __, out: sizes.append(out.shape[2]))
            assert model(torch.empty(2, *RGB)).shape == (2, 10)
    assert sizes == [16, 32]
    assert models[1].get_submodule(conv).weight.shape == shape
    assert name == "mobilenet_v2" or not any(isinstance(m, nn.MaxPool2d) for m in models[1].modules())


def test_it_trains_under_its_name_in_a_sweep_with_others(tmp_path):
    short = ["schedule.iterations=1", "schedule.batch_size=4", "schedule.evaluate_every=1", "device=cpu"]
    tiny = ["dataset=digits", "method=random", "sparsity=0.5", f"output_dir={tmp_path}"]
    assert main(["-m", "model=lenet_300_100", *tiny, *short]) == 0
    config = config_of("model=torchvision/squeezenet1_1", "dataset=cifar10")
    assert config.folder.name.startswith("snip-torchvision.squeezenet1_1-cifar10-s0.9-")
    assert config.schedule.name == "cifar_snip"
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read(tmp_path / "config.yaml") == config
    with composer(None) as compose:
        sweep = compose.sweep(["model=torchvision/squeezenet1_1,lenet_5_caffe", "sparsity=0"])
    assert [job.config.model.name for job in sweep.jobs] == ["torchvision.squeezenet1_1", "lenet_5_caffe"]
    assert [job.config.dataset.name for job in sweep.jobs] == ["cifar10", "mnist"]


STEM = "unusual: model.stem=imagenet is meant for larger images than the 32×32 pixels of dataset=cifar10: model.stem=cifar is "


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], 1),
        (["-m", "seed=0,1"], 1),
        (["model.stem=cifar"], 0),
        (["dataset=tiny_imagenet"], 0),
        (["dataset.shape=[3,64,63]"], 1),
    ],
)
def test_small_images_for_a_stem_that_is_meant_for_imagenet_are_unusual(more, said, monkeypatch, capsys):
    monkeypatch.setattr("snip_cli.commands.dry_run.print_plan", lambda configs: None)
    monkeypatch.setattr("snip_cli.commands.sweep.print_plan", lambda configs: None)
    assert main(["model=torchvision/squeezenet1_1", *more, "dry_run=true"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("unusual: model.stem=imagenet") == said
    assert more or STEM in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model=torchvision/resnet81"], "torchvision has no classification network 'resnet81' (did you mean 'resnet"),
        (["model=torchvision/vgg11", "model.stem=cifar"], "'vgg11' has no stem for CIFAR"),
        (["model=torchvision/resnet18", "model.stem=tiny"], "model.stem must be one of imagenet, cifar: got 'tiny'"),
        (["model=torchvision/resnet18", "+model.depth=3"], "has no option 'depth'; it has: stem"),
        (["model=torchvision/fasterrcnn_resnet50_fpn"], "torchvision has no classification network"),
        (["model=torchvison/resnet18"], "There is no model/torchvison 'resnet18'"),
    ],
)
def test_what_is_not_there_is_refused(arguments, said, capsys):
    assert main([*arguments, "dry_run=true"]) == 2
    assert said in capsys.readouterr().err


def test_timm_is_asked_for_or_used():
    if not find_spec("timm"):
        with pytest.raises(ConfigError, match=r"timm is not installed here: pip install 'snip-run\[timm\]'"):
            weightless_model(config_of("model=timm/resnet18d"))
        return
    model = build_model(config_of("model=timm/resnet18d", "model.stem=imagenet", "dataset=mnist"))
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    with pytest.raises(ConfigError, match="timm has no network 'resnet18dd'"):
        weightless_model(config_of("model=timm/resnet18dd"))


WRONG = {
    "def own():": r"is defined as own\(\) and will be called as own\(shape, classes\): .* Write def own\(shape, classes\):",
    "def own(shape):": r"is defined as own\(shape\) and will be called",
    "def own(shape, classes, depth):": "missing a required argument: 'depth'",
    "def own(*, shape, classes):": "too many positional arguments",
}


@pytest.mark.parametrize("definition", WRONG)
def test_a_model_with_another_signature_is_refused_with_the_right_one(definition):
    names = {}
    exec(f"{definition}\n    return None", names)
    registry.models.register("own")(names["own"])
    with pytest.raises(ConfigError, match=f"model 'own' .*{WRONG[definition]}"):
        registry.models.check_options("own", {})


def test_data_sets_and_initialisers_are_called_as_they_are_defined_too():
    registry.datasets.register("own")(lambda: None)
    registry.initialisers.register("own")(lambda weight: None)
    for kind, called in ((registry.datasets, "root"), (registry.initialisers, "weight, generator")):
        with pytest.raises(ConfigError, match=rf"will be called as <lambda>\({called}\)"):
            kind.check_options("own", {})


def test_a_model_that_returns_no_module_is_refused():
    registry.models.register("own")(lambda shape, classes: None)
    config = config_of("model=lenet_300_100", "model.name=own")
    with pytest.raises(ConfigError, match=r"model 'own' must return a torch\.nn\.Module: got a value of type NoneType"):
        build_model(config)
