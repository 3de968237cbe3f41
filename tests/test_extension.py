"""A method, a model, a data set and an initialiser from outside the package: one Python file and one YAML each, no fork."""

import re

import pytest
import torch

from snip_cli import registry
from snip_cli.commands.snip_run import main
from tests.snip_run import QUICK, only_run, read_metrics, train_until_checkpoint

FILES = {
    "smallest.py": """
from snip_cli.models.prunable import prunable_parameters
from snip_cli.registry import methods


@methods.register("smallest")
def smallest(model, batches, loss, generator, *, power: float = 1.0, steps: int = 1):  # an argument's name in the pipeline
    assert steps == 3
    return {name: -p.detach().abs() ** power for name, p in prunable_parameters(model).items()}
""",
    "method/smallest.yaml": "name: smallest\nredraw: false\npower: 2.0\nsteps: 3\n",
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
    short = ["schedule.iterations=8", "schedule.batch_size=10", "schedule.evaluate_every=4", "device=cpu"]
    arguments = [*choices, *short, "sparsity=0.5", f"output_dir={tmp_path / 'runs'}"]
    assert main(["-m", "--config-dir", str(folder), *arguments]) == 0
    assert len(list((tmp_path / "runs").glob("*/metrics.json"))) == 2


def test_a_run_of_it_as_it_was_is_told_from_one_as_it_is(folder, tmp_path, capsys, monkeypatch):
    command = [
        *QUICK,
        "--config-dir",
        str(folder),
        "method=smallest",
        "sparsity=0.5",
        f"output_dir={tmp_path / 'runs'}",
    ]
    assert main(command) == 0
    monkeypatch.setitem(registry.own_files, "smallest.py", "the hash that another process finds after a change")
    assert main(command) == 0
    assert "finished already by an earlier smallest.py (delete the folder to repeat the run)" in capsys.readouterr().out
    assert main([*command, "seeds=2"]) == 0
    assert "continues with another smallest.py than before: delete" in capsys.readouterr().out


def test_its_options_are_checked(folder, tmp_path, capsys):
    command = [*QUICK, "--config-dir", str(folder), "method=smallest", f"output_dir={tmp_path / 'runs'}"]
    assert main([*command, "method.power=much"]) == 2
    assert "method.power must be a number: got" in capsys.readouterr().err
    assert main([*command, "method.pover=2.0"]) == 2
    assert "did you mean 'power'" in capsys.readouterr().err


@pytest.fixture
def declared(folder):
    """A method and a model whose YAML names none of their options."""
    (folder / "fish.py").write_text(
        "from dataclasses import dataclass\n\nfrom snip_cli.models.prunable import prunable_parameters\n"
        "from snip_cli.pruning.method import register\nfrom snip_cli.pruning.options import option\n\n\n"
        "@dataclass(frozen=True)\nclass FishOptions:\n"
        "    images: int = option(100, 'how many images are summed', at_least=1)\n\n\n"
        "@register('fish', options=FishOptions)\ndef fish(model, batches, loss, generator, options):\n"
        "    return {name: p.detach().abs() for name, p in prunable_parameters(model).items()}\n"
    )
    (folder / "wide.py").write_text(
        "from torch import nn\n\nfrom snip_cli.registry import models\n\n\n"
        "@models.register('wide')\ndef wide(shape, classes, *, width: int = 9):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.Linear(width, classes))\n"
    )
    (folder / "method" / "fish.yaml").write_text("name: fish\nredraw: false\n")
    (folder / "model" / "wide.yaml").write_text("name: wide\n")
    return ["--config-dir", str(folder), "method=fish", "model=wide", "dataset=digits", "dry_run=true"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method.images=10", "method/fish.yaml does not name 'images', which method has: write +method.images=10"),
        ("model.width=7", "model/wide.yaml does not name 'width', which model has: write +model.width=7"),
        (
            "method.trained=true",
            "method/fish.yaml does not name 'trained', which method has: write +method.trained=true",
        ),
        ("method.classes=[3]", "which method has: write '+method.classes=[3]'"),
    ],
)
def test_an_option_that_the_yaml_does_not_name_is_answered_with_how_to_give_it(declared, override, said, capsys):
    assert main([*declared, override]) == 2
    assert f"{said}, or give it a line in that file." in capsys.readouterr().err
    assert main([*declared, f"+{override}"]) == 0
    assert main([*declared, "method.imagse=10"]) == 2
    assert "There is no setting 'method.imagse'" in capsys.readouterr().err


def test_help_takes_the_meaning_of_an_option_from_its_declaration(declared, capsys):
    assert main([*declared, "--help", "method", "model"]) == 0
    said = capsys.readouterr().out
    assert "+method.images=VALUE                        how many images are summed\n" in said
    assert "+model.width=VALUE\n" in said
    for section in (["method"], []):
        assert main([*declared, "+method.images=10", "--help", *section]) == 0
        assert "method.images=10                            how many images are summed\n" in capsys.readouterr().out


def test_its_own_check_and_a_missing_option_end_the_run_before_any_work(folder, tmp_path, capsys):
    (folder / "method" / "checked.yaml").write_text("name: checked\nredraw: true\n")
    (folder / "checked.py").write_text(
        "from snip_cli.errors import ConfigError\nfrom snip_cli.registry import methods\n\n\n"
        "@methods.register('checked')\n"
        "def checked(model, batches, loss, generator, *, width):\n"
        "    raise AssertionError\n\n\n"
        "def check(model, example, *, width):\n"
        "    raise ConfigError(f'{example.device.type} {tuple(example.shape)} is narrower than {width}.')\n\n\n"
        "checked.check = check\n"
    )
    command = [*QUICK, "--config-dir", str(folder), "method=checked", f"output_dir={tmp_path / 'runs'}"]
    assert main(command) == 2
    assert "method 'checked' has no default for its option width" in capsys.readouterr().err
    assert main([*command, "+method.width=wide"]) == 2
    assert "meta (1, 1, 28, 28) is narrower than wide." in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_choice_that_its_folder_lacks_is_refused_with_the_file_to_write(folder, capsys):
    for group in ("method", "model"):
        assert main(["--config-dir", str(folder), f"{group}=fisher"]) == 2
        assert f", or add your own as {folder / group / 'fisher.yaml'}." in capsys.readouterr().err


def test_a_method_that_chooses_the_mask_in_the_way_of_an_earlier_version_is_refused(folder, tmp_path, capsys):
    (folder / "method" / "whole.yaml").write_text("name: whole\nredraw: true\n")
    (folder / "whole.py").write_text(
        "from snip_cli.registry import methods\n\n\n"
        "@methods.register('whole')\n"
        "def whole(model, batches, loss, generator, sparsity, steps):\n"
        "    raise AssertionError\n"
    )
    command = [*QUICK, "--config-dir", str(folder), f"output_dir={tmp_path / 'runs'}"]
    assert main([*command, "method=whole"]) == 2
    assert "register it with @register('whole', gives=Gives.MASK)" in capsys.readouterr().err
    assert main([*command, "method=smallest", "sparsity=0.5"]) == 0


def test_the_help_lists_it(folder, capsys):
    assert main(["--help", "--config-dir", str(folder)]) == 0
    assert ", smallest, " in capsys.readouterr().out


def test_a_network_that_draws_while_it_trains_gives_the_same_bits_again_and_after_a_stop(folder, tmp_path):
    """Dropout, and a parameter that the network draws itself: a seed fixes both, and so does a checkpoint."""
    (folder / "model" / "dropping.yaml").write_text("name: dropping\n")
    (folder / "dropping.py").write_text(
        "import torch\nfrom torch import nn\nfrom snip_cli.registry import models\n\n\n"
        "class Shifted(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.shift = nn.Parameter(torch.randn(784))\n\n"
        "    def forward(self, x):\n"
        "        return x + self.shift\n\n\n"
        "@models.register('dropping')\n"
        "def dropping(shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), Shifted(), nn.Linear(784, 20), nn.Dropout(0.5), nn.Linear(20, classes))\n"
    )
    command = [*QUICK, "--config-dir", str(folder), "model=dropping"]
    contents = []
    for name in ("first", "second", "stopped"):
        output_dir = tmp_path / name
        if name == "stopped":
            train_until_checkpoint([*command, f"output_dir={output_dir}"], output_dir)
        torch.rand(3)  # somebody else draws from the global generator
        assert main([*command, f"output_dir={output_dir}"]) == 0
        contents.append(torch.load(only_run(output_dir) / "checkpoint.pt", weights_only=True)["weights"][0])
    for other in contents[1:]:
        assert all(torch.equal(contents[0][name], other[name]) for name in contents[0])


WRONG_MODELS = {
    "three channels": (
        "nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(2704, classes))",
        "to have 3 channels",
    ),
    "a larger image": ("nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))", "cannot be multiplied"),
    "a look at numbers": ("Looks()", "wants three channels"),
    "too few classes": ("nn.Sequential(nn.Flatten(), nn.Linear(784, 5))", "each of the 10 classes .* got \\(2, 5\\)"),
    "an output an image": ("nn.Flatten(), nn.Linear(784, 10), nn.Flatten(0)", "each of the 10 classes"),
    "two outputs": ("Two()", "each of the 10 classes .* got tuple"),
}
LOOKS = """
class Looks(nn.Linear):
    def __init__(self):
        super().__init__(784, 10)

    def forward(self, x):
        if float(x.max()) > 1e9 or x.shape[1] != 3:
            raise ValueError("wants three channels")
        return x


class Two(nn.Linear):
    def __init__(self):
        super().__init__(784, 10)

    def forward(self, x):
        return super().forward(x.flatten(1)), x
"""


@pytest.mark.parametrize("kind", WRONG_MODELS)
def test_a_model_that_does_not_fit_the_images_is_refused_before_any_work(kind, folder, tmp_path, capsys):
    network, said = WRONG_MODELS[kind]
    (folder / "wrong.py").write_text(
        f"from torch import nn\nfrom snip_cli.registry import models\n{LOOKS}\n"
        "@models.register('wrong')\n"
        f"def wrong(shape, classes):\n    return nn.Sequential({network}, nn.Identity())\n"
    )
    (folder / "model" / "wrong.yaml").write_text("name: wrong\n")
    command = ["--config-dir", str(folder), "model=wrong", "sparsity=0", f"output_dir={tmp_path / 'runs'}"]
    assert main(command) == 2
    [sentence] = capsys.readouterr().err.splitlines()
    assert re.search("model .wrong. .*dataset .mnist.", sentence) and re.search(said, sentence), sentence
    assert not (tmp_path / "runs").exists()
