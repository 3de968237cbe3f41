"""Models, data sets, weights and machines that do not fit together: one sentence each, before any training."""

import os
import re

import pytest
import torch

from snip_cli import registry
from snip_cli.commands.snip_run import main
from snip_cli.models.pretrained import with_weights_hash
from snip_cli.report.cells import cells
from snip_cli.report.records import read_tree
from tests.config.test_schema import config_of
from tests.data.pictures import draw_classes
from tests.snip_run import QUICK, run_quick

CONFIGURATION = {
    "recurrent net on colour images": (
        ["model=lstm_s", "dataset=cifar10"],
        ["lstm_s needs images of 1 channel: got 3"],
    ),
    "image without enough pixels": (["model=vgg_d", "dataset.shape=[1,16,16]"], ["at least 17×17: got 16×16"]),
    "grey images for a colour net": (["model=resnet50"], ["resnet50 needs images of 3 channels: got 1"]),
    "crops of data in memory": (["dataset.augmentation=crop_flip"], ["dataset.augmentation=flip_translate"]),
    "sizes of data in memory": (["+dataset.sizes=[28]"], ["leave out dataset.sizes"]),
    "sizes that the net cannot take": (
        ["dataset=ilsvrc2012", "dataset.shape=[3,64,64]", "dataset.sizes=[32,64]"],
        ["model 'lenet_300_100' cannot take images of 32×32", "leave dataset.sizes out"],
    ),
    "too many classes": (["dataset.classes=11"], ["has 10 classes, but dataset.classes is 11: set dataset.classes=10"]),
    "too few classes": (["dataset.classes=9"], ["set dataset.classes=10"]),
    "no classes given": (["dataset=image_folder"], ["dataset.classes must be given"]),
    "option of a data set": (["+dataset.colour=red"], ["dataset 'digits' has no option 'colour'"]),
    "nothing held out": (["dataset.held_out=0.0001"], ["choose a fraction that leaves images"]),
    "unknown augmentation": (["dataset.augmentation=mixup"], ["must be one of none, flip_translate"]),
    "batch-norm over several GPUs on one processor": (
        ["sync_batchnorm=true"],
        ["works on several GPUs under torchrun only"],
    ),
    "batch-norm over one image": (
        ["model=vgg_like", "schedule.batch_size=1", "method.batch_size=2"],
        ["model 'vgg_like' has batch-norm", "raise schedule.batch_size above 1"],
    ),
    "weights that are not there": (["model.weights=nowhere.pt", "method.redraw=false"], ["nowhere.pt"]),
}


def refusal(capsys, tmp_path, *arguments):
    """The one sentence in which a command is refused."""
    code = main([*QUICK, f"output_dir={tmp_path / 'runs'}", *arguments])
    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith("snip-run: ")
    assert said.count("\n") == 1
    assert not list(tmp_path.rglob("metrics.json"))
    assert not list(tmp_path.rglob("config.yaml"))  # nothing for a report to list
    return said


@pytest.mark.parametrize("case", CONFIGURATION)
def test_what_does_not_fit_is_one_sentence(case, tmp_path, capsys):
    arguments, phrases = CONFIGURATION[case]
    said = refusal(capsys, tmp_path, *arguments)
    for phrase in phrases:
        assert phrase in said


@pytest.fixture
def pictures(tmp_path):
    """Settings for a folder of images in two classes, of 8×8 pixels."""
    draw_classes(tmp_path / "mine" / "train", {"ant": 9, "bee": 8})
    draw_classes(tmp_path / "mine" / "test", {"ant": 2, "bee": 2})
    settings = [f"dataset.root={tmp_path}", "dataset.folder=mine", "dataset.size=8", "schedule.batch_size=4"]
    return ["dataset=image_folder", *settings]


def test_images_of_ones_own_train(pictures, tmp_path):
    run_quick(tmp_path / "runs", *pictures, "dataset.classes=2", "dataset.augmentation=flip_translate")


def test_a_wrong_number_of_classes_in_a_folder(pictures, tmp_path, capsys):
    said = refusal(capsys, tmp_path, *pictures, "dataset.classes=3")
    assert "dataset 'image_folder' has 2 classes, but dataset.classes is 3: set dataset.classes=2." in said


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_an_unreadable_image_is_named_before_training(content, pictures, tmp_path, capsys):
    [first, *_] = sorted((tmp_path / "mine" / "train" / "bee").iterdir())
    first.write_bytes(content)
    assert str(first) in refusal(capsys, tmp_path, *pictures, "dataset.classes=2")


def test_weights_of_another_model_are_refused_and_name_what_does_not_fit(tmp_path, capsys):
    torch.save({"fc1.weight": torch.zeros(3, 3)}, tmp_path / "other.pt")
    said = refusal(capsys, tmp_path, f"model.weights={tmp_path / 'other.pt'}", "method.redraw=false")
    assert str(tmp_path / "other.pt") in said
    assert "fc1" in said


def test_other_weights_in_the_same_file_make_another_run(tmp_path):
    weights = tmp_path / "weights.pt"
    folders = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        torch.save(registry.models["lenet_300_100"]((1, 28, 28), 10).state_dict(), weights)
        config = config_of({"model": {"name": "lenet_300_100", "weights": str(weights)}})
        folders.append(with_weights_hash(config).folder)
        os.utime(weights, ns=(0, len(folders)))
    assert folders[0] == folders[2] != folders[1]


def test_the_report_tells_runs_apart_whose_weights_lay_in_the_same_file(tmp_path):
    weights = tmp_path / "weights.pt"
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(registry.models["lenet_300_100"]((1, 28, 28), 10).state_dict(), weights)
        os.utime(weights, ns=(0, seed))
        assert main([*QUICK, f"pretrained={weights}", "method.redraw=false", f"output_dir={tmp_path / 'runs'}"]) == 0
    made = cells(read_tree(tmp_path / "runs"))
    assert [len(cell.errors) for cell in made] == [1, 1]
    assert len({cell.settings["model.weights"] for cell in made}) == 2


def test_a_mixed_precision_run_is_evaluated_again_as_it_was(tmp_path, capsys):
    run = run_quick(tmp_path, "model=lenet_5_caffe", "dtype=bfloat16")
    assert main([f"eval={run}", "device=cpu"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "recorded" in line]
    error, recorded = re.findall(r"([\d.]+) %", line)
    assert error == recorded


def test_a_run_that_names_no_weights_does_not_mind_a_checkpoint_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "checkpoint.pt").touch()
    monkeypatch.chdir(tmp_path)
    run_quick(tmp_path / "runs")


def test_a_finished_run_gives_its_weights_to_another(tmp_path, capsys):
    first = run_quick(tmp_path / "first", "model=lenet_5_caffe", "sparsity=0")
    weights = [f"pretrained={first / 'checkpoint.pt'}", "method.redraw=false"]
    assert first.name in refusal(capsys, tmp_path / "no", f"pretrained={first}", "method.redraw=false")
    second = run_quick(
        tmp_path / "second", "model=lenet_5_caffe", "sparsity=0.5", *weights, "schedule.learning_rate=1e-9"
    )
    before, after = (torch.load(path / "checkpoint.pt", weights_only=True)["weights"][0] for path in (first, second))
    masks = torch.load(second / "mask.pt", weights_only=True)[0]
    for name, keep in masks.items():
        torch.testing.assert_close(after[name], before[name] * keep, rtol=0, atol=1e-6)
    assert first.name.rsplit("-", 1)[1] != second.name.rsplit("-", 1)[1]
