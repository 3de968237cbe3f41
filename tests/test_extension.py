"""A method, a model, a data set and an initialiser from outside the package: one Python file and one YAML each, no fork."""

import pytest

from snip_cli.cli import main
from snip_cli.record import read_metrics
from tests.commands import QUICK, only_run

FILES = {
    "smallest.py": """
from snip_cli.pruning.mask import prunable_parameters
from snip_cli.registry import methods


@methods.register("smallest")
def smallest(model, batches, loss, generator, *, power: float = 1.0):
    return {name: -p.detach().abs() ** power for name, p in prunable_parameters(model).items()}
""",
    "method/smallest.yaml": "name: smallest\nredraw: false\npower: 2.0\n",
    "linear.py": """
from math import prod

from torch import nn

from snip_cli.registry import models


@models.register("linear")
def linear(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), classes))
""",
    "model/linear.yaml": "name: linear\n",
    "stripes.py": """
import torch

from snip_cli.data.resident import Raw
from snip_cli.registry import datasets, initialisers


@datasets.register("stripes")
def stripes(root):
    labels = torch.arange(200) % 2
    images = torch.zeros(200, 1, 4, 4, dtype=torch.uint8)
    images[labels == 1, :, ::2] = 255
    return Raw(images, labels, images, labels)


@initialisers.register("constant")
def constant(weight, generator):
    weight.fill_(0.1)
""",
    "dataset/stripes.yaml": "name: stripes\nroot: data\nshape: [1, 4, 4]\nclasses: 2\nsplit_seed: 9\n",
    "init/constant.yaml": "name: constant\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "mine"


def test_a_method_of_ones_own(folder, tmp_path):
    assert (
        main(
            [*QUICK, "--config-dir", str(folder), "method=smallest", "sparsity=0.5", f"output_dir={tmp_path / 'runs'}"]
        )
        == 0
    )
    metrics = read_metrics(only_run(tmp_path / "runs"))
    assert (metrics["method"], metrics["kept"]) == ("smallest", 133_305)


def test_everything_of_ones_own_in_a_sweep(folder, tmp_path):
    choices = ["method=smallest,snip", "model=linear", "dataset=stripes", "init=constant", "method.redraw=true"]
    short = [
        "schedule.iterations=8",
        "schedule.batch_size=10",
        "schedule.evaluate_every=4",
        "+method.batch_size=10",
        "device=cpu",
    ]
    arguments = [*choices, *short[:3], "device=cpu", "sparsity=0.5", f"output_dir={tmp_path / 'runs'}"]
    assert main(["-m", "--config-dir", str(folder), *arguments]) == 0
    assert len(list((tmp_path / "runs").glob("*/metrics.json"))) == 2


def test_its_options_are_checked(folder, tmp_path, capsys):
    command = [*QUICK, "--config-dir", str(folder), "method=smallest", f"output_dir={tmp_path / 'runs'}"]
    assert main([*command, "method.power=much"]) == 2
    assert "method.power must be of type float" in capsys.readouterr().err
    assert main([*command, "method.pover=2.0"]) == 2
    assert "did you mean 'method.power'" in capsys.readouterr().err


def test_the_help_lists_it(folder, capsys):
    assert main(["--help", "--config-dir", str(folder)]) == 0
    assert "method: magnitude, random, smallest, snip" in capsys.readouterr().out
