"""`snip_cli.load_run`: the network of a finished run in a script of one's own."""

import pytest
import torch
import torch.nn.functional as F

import snip_cli
from snip_cli.commands.snip_run import main
from snip_cli.data.digits import digits
from snip_cli.errors import ConfigError
from tests.snip_run import QUICK, run_quick


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run_quick(tmp_path_factory.mktemp("runs"), "sparsity=0.9", "seeds=2", "schedule.iterations=60")


@pytest.mark.parametrize("seed", [None, 1])
def test_it_gives_the_error_that_was_recorded_on_images_as_they_are_in_the_file(folder, seed):
    run = snip_cli.load_run(folder, seed=seed)
    raw = digits("")
    for images in (raw.test_images, raw.test_images.double() / 255):
        wrong = (run.model(run.normalise(images)).argmax(1) != raw.test_labels).float().mean()
        assert 100 * wrong.item() == pytest.approx(run.metrics.test_error, abs=1e-4)
    assert (run.seed, run.metrics.seed) == (seed or 0, seed or 0)
    assert run.config.model.name == "lenet_300_100" and run.folder == folder
    one = run.normalise(raw.test_images[0])
    assert torch.equal(one, run.normalise(raw.test_images)[0]) and one.dtype == torch.float32


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(5, 28, 28, 1), r"got 5×28×28×1\. Move the channels forward: images\.movedim\(-1, -3\)\."),
        (torch.zeros(28, 28, 1), r"got 28×28×1\. Move the channels"),
        (torch.zeros(5, 3, 28, 28), r"must be N×1×28×28 or 1×28×28 .* got 5×3×28×28\. Bring them to that shape"),
        (torch.zeros(5, 1, 32, 32), "got 5×1×32×32"),
        (torch.zeros(5, 28, 28), "got 5×28×28"),
        (torch.zeros(784), "got 784"),
        (torch.zeros(2, 5, 1, 28, 28), "got 2×5×1×28×28"),
        (torch.full((1, 28, 28), 255.0), r"floating-point pixels must be in \[0, 1\]: got 255 to 255"),
        (torch.full((1, 28, 28), -0.5), "got -0.5 to -0.5"),
        (torch.full((1, 28, 28), torch.nan), "got nan to nan"),
        (torch.zeros(1, 28, 28).numpy(), r"must be a tensor: got a ndarray\. Write torch\.as_tensor\(images\)"),
        (torch.zeros(1, 28, 28, dtype=torch.bool), r"got torch\.bool\. Convert them first"),
        (torch.zeros(1, 28, 28, dtype=torch.complex64), r"got torch\.complex64"),
        (torch.full((1, 28, 28), 256), r"whole numbers as pixels must be in \[0, 255\]: got 256 to 256"),
    ],
)
def test_images_of_another_shape_or_range_are_refused(folder, images, said):
    with pytest.raises(ConfigError, match=said):
        snip_cli.load_run(folder).normalise(images)


def test_the_limits_of_pixels_and_no_images_are_normalised(folder):
    run = snip_cli.load_run(folder)
    ends = torch.tensor([0, 255]).reshape(2, 1, 1, 1).expand(2, 1, 28, 28)
    assert torch.equal(run.normalise(ends), run.normalise(ends / 255))
    assert run.normalise(ends[:0]).shape == (0, 1, 28, 28)


def test_its_mask_is_kept_in_a_step_of_training(folder):
    run = snip_cli.load_run(str(folder))
    parameters = dict(run.model.named_parameters())
    assert sum(int(keep.sum()) for keep in run.mask.values()) == 26_661 == run.metrics.kept
    assert all(not parameters[name][~keep].any() for name, keep in run.mask.items())
    raw = digits("")
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    F.cross_entropy(run.model.train()(run.normalise(raw.train_images[:100])), raw.train_labels[:100]).backward()
    optimizer.step()
    assert any(parameters[name][~keep].any() for name, keep in run.mask.items())
    snip_cli.apply_mask(run.model, run.mask)
    assert all(not parameters[name][~keep].any() for name, keep in run.mask.items())
    assert not torch.equal(before["fc1.weight"], parameters["fc1.weight"])


def test_what_is_not_there_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="holds no finished run"):
        snip_cli.load_run(tmp_path)
    with pytest.raises(ConfigError, match=r"does not hold seed 7 \(it holds: 0, 1\)"):
        snip_cli.load_run(folder, seed=7)


def test_a_model_of_ones_own_needs_its_folder(tmp_path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "flat.py").write_text(
        "from torch import nn\nfrom snip_cli.registry import models\n\n\n@models.register('flat')\n"
        "def flat(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))\n"
    )
    (tmp_path / "mine" / "model" / "flat.yaml").write_text("name: flat\n")
    assert main([*QUICK, "--config-dir", str(tmp_path / "mine"), "model=flat", f"output_dir={tmp_path / 'runs'}"]) == 0
    [folder] = (tmp_path / "runs").iterdir()
    assert len(snip_cli.load_run(folder, config_dir=tmp_path / "mine").model) == 2


def test_the_package_shows_its_public_names():
    assert {"apply_mask", "load_run", "prune"} <= set(dir(snip_cli))
    assert not {"annotations", "TYPE_CHECKING", "Any"} & set(dir(snip_cli))
