"""Weights to start from: torchvision's by name, a state dict, a run's checkpoint, and the errors of each."""

import hashlib
import os
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn
from torch.optim.swa_utils import AveragedModel

from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.models.pretrained import hash_of_weights, load_weights
from snip_cli.runfolder import checkpoint
from snip_cli.runfolder.checkpoint import Saved
from snip_cli.runfolder.results import SeedResult
from tests.models.test_models import build

URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """An empty torch.hub folder, and no network access."""

    def fail(url, *rest, **options):
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    return tmp_path / "torch_home" / "hub" / "checkpoints"


def network(classes=4):
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, classes))


def same(model, state):
    return all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def stored(path, content):
    torch.save(content, path)
    return str(path)


def constants(model, value):
    """A state dict with the model's shapes, in a small file: all entries are `value`."""
    return {
        key: torch.full((), value).to(tensor.dtype).expand(tensor.shape) for key, tensor in model.state_dict().items()
    }


def refusal(model, name, weights):
    """The error that refuses the weights; the model stays as it was."""
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(ConfigError) as raised:
        load_weights(model, name, weights)
    assert same(model, before)
    sentence = str(raised.value)
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def test_a_state_dict_gives_all_parameters_and_statistics(tmp_path):
    model, other = network(), network()
    other[1].running_mean.fill_(3)
    load_weights(model, "mine", stored(tmp_path / "weights.pt", other.state_dict()))
    assert same(model, other.state_dict())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_models_dtype_stays(dtype, tmp_path):
    model, other = network().to(dtype), network()
    load_weights(model, "mine", stored(tmp_path / "weights.pt", other.state_dict()))
    assert model[0].weight.dtype == dtype
    assert torch.equal(model[0].weight, other[0].weight.to(dtype))


def test_a_run_s_checkpoint_gives_the_weights_of_its_first_seed(tmp_path):
    states = {seed: network().state_dict() for seed in (7, 3, 5)}
    checkpoint.save(tmp_path, Saved(weights=states))
    model = network()
    load_weights(model, "mine", str(tmp_path / "checkpoint.pt"))
    assert same(model, states[3])


def test_a_state_dict_without_batch_norms_counter_will_do(tmp_path):
    model, state = network(), network().state_dict()
    del state["1.num_batches_tracked"]
    load_weights(model, "mine", stored(tmp_path / "old.pt", dict(state)))
    assert torch.equal(model[3].weight, state["3.weight"])


@pytest.mark.parametrize("name", ["lstm_s", "resnet56"])
def test_a_registered_model_takes_its_own_weights(name, tmp_path):
    model, other = build(name), build(name)
    for parameter in other.parameters():
        nn.init.uniform_(parameter)
    load_weights(model, name, stored(tmp_path / "weights.pt", other.state_dict()))
    assert same(model, other.state_dict())


def test_a_run_that_trained_no_seed_to_its_end_is_refused(tmp_path):
    checkpoint.save(tmp_path, Saved(training={"seed": 0}))
    sentence = refusal(network(), "mine", str(tmp_path / "checkpoint.pt"))
    assert sentence.endswith("no seed whose training is finished: let the run finish, or name another file.")


def hash_of_file(weights):
    """What identifies a file in the hash of a run that starts from it."""
    return hash_of_weights(str(weights))


def test_a_run_s_checkpoint_is_identified_by_the_weights_of_its_first_seed_alone(tmp_path):
    states = {seed: network().state_dict() for seed in (3, 5)}
    one, more, moved, other = (tmp_path / name for name in ("one", "more", "moved", "other"))
    for folder, saved in (
        (one, Saved(weights={3: states[3]}, training={5: {"seed": 5}})),
        (more, Saved(weights=states, results={3: SeedResult(3, 1.0)})),
        (other, Saved(weights={3: states[5]})),
    ):
        folder.mkdir()
        checkpoint.save(folder, saved)
    moved.write_bytes((one / "checkpoint.pt").read_bytes())
    hashes = [hash_of_file(path) for path in (one / "checkpoint.pt", more / "checkpoint.pt", moved)]
    assert len(set(hashes)) == 1
    assert hash_of_file(other / "checkpoint.pt") != hashes[0]


def test_a_file_that_is_written_again_is_looked_at_again(tmp_path):
    hashes = set()
    for time in (1, 2):
        checkpoint.save(tmp_path, Saved(weights={0: network().state_dict()}))
        os.utime(tmp_path / "checkpoint.pt", (time, time))
        hashes.add(hash_of_file(tmp_path / "checkpoint.pt"))
    assert len(hashes) == 2


@pytest.mark.parametrize("kind", ["state dict", "garbage", "unfinished run"])
def test_any_other_file_is_identified_by_its_bytes(kind, tmp_path):
    path = tmp_path / "checkpoint.pt"
    if kind == "state dict":
        stored(path, network().state_dict())
    elif kind == "garbage":
        path.write_bytes(b"weights" * 99)
    else:
        checkpoint.save(tmp_path, Saved(training={0: {"seed": 0}}))
    assert hash_of_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("place", ["missing.pt", "."])
def test_a_file_that_is_not_there_is_refused(place, tmp_path):
    path = tmp_path / place
    assert refusal(network(), "mine", str(path)) == (
        f"pretrained={path} does not exist: give the path of a state dict or of a run's checkpoint.pt."
    )


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"weights" * 99]
)
def test_a_damaged_file_is_refused(damage, tmp_path):
    path = Path(stored(tmp_path / "weights.pt", network().state_dict()))
    path.write_bytes(damage(path.read_bytes()))
    sentence = refusal(network(), "mine", str(path))
    assert sentence.startswith(f"{path} is damaged") and sentence.endswith("restore it, or name another file.")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    path = stored(tmp_path / "model.pt", network())
    assert "holds more than tensors and plain Python" in refusal(network(), "mine", path)


@pytest.mark.parametrize(
    "content", [[1, 2], torch.ones(3), {"epoch": 3}, {"state_dict": {"0.weight": torch.ones(3)}}], ids=str
)
def test_a_file_of_something_else_is_refused(content, tmp_path):
    path = stored(tmp_path / "other.pt", content)
    assert refusal(network(), "mine", path).startswith(f"{path} holds no weights: give what torch.save(")


def edited(change):
    state = network().state_dict()
    change(state)
    return dict(state)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (network(classes=10).state_dict(), "its '3.weight' has shape (10, 72), the model's has (4, 72)"),
        (edited(lambda state: state.pop("1.running_var")), "it has no '1.running_var'"),
        (edited(lambda state: state.update(extra=torch.ones(1))), "the model has no 'extra'"),
        ({}, "it has no '0.weight'"),
        (
            {f"net.{key}": value for key, value in network().state_dict().items()},
            "it has no '0.weight' and the model has no 'net.0.weight'",
        ),
    ],
    ids=["classes", "missing", "extra", "empty", "other names"],
)
def test_weights_of_another_model_are_refused_with_the_first_key_that_does_not_fit(state, problem, tmp_path):
    path = stored(tmp_path / "weights.pt", state)
    assert refusal(network(), "mine", path) == (
        f"pretrained={path} does not fit this mine: {problem}; choose weights of this model, image size and number of classes."
    )


WRAPPERS = {
    "data parallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "averaged": AveragedModel,
    "data parallel, averaged": lambda model: AveragedModel(nn.DataParallel(model)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_state_of_a_wrapped_model_is_loaded_under_its_own_names(wrapper, tmp_path):
    source, model = network(), network()
    load_weights(model, "mine", stored(tmp_path / "weights.pt", WRAPPERS[wrapper](source).state_dict()))
    assert same(model, source.state_dict())


def test_torchvisions_weights_are_downloaded_and_their_hash_checked(monkeypatch):
    model, calls = build("resnet50", (3, 224, 224), 1000), []

    def download(url, **options):
        calls.append((url, options))
        return constants(model, 0.25)

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", download)
    load_weights(model, "resnet50", "IMAGENET1K_V1")
    [(url, options)] = calls
    assert url == URL
    assert options.pop("progress") in (True, False)
    assert options == {"check_hash": True, "map_location": "cpu", "weights_only": True}
    assert (model.conv1.weight == 0.25).all() and (model.fc.bias == 0.25).all()


def test_where_the_download_fails_the_sentence_names_the_file_that_then_is_read(hub):
    model = build("resnet50", (3, 224, 224), 1000)
    sentence = refusal(model, "resnet50", "IMAGENET1K_V1")
    assert sentence == (
        f"{URL} cannot be downloaded (URLError: <urlopen error no network>): "
        f"put resnet50-0676ba61.pth into {hub}, or give pretrained=FILE."
    )
    hub.mkdir(parents=True, exist_ok=True)
    stored(hub / "resnet50-0676ba61.pth", constants(model, 0.5))
    load_weights(model, "resnet50", "IMAGENET1K_V1")
    assert (model.layer4[2].conv3.weight == 0.5).all()


def test_a_damaged_download_is_to_be_deleted(hub):
    hub.mkdir(parents=True)
    (hub / "resnet50-0676ba61.pth").write_bytes(b"half of")
    sentence = refusal(build("resnet50"), "resnet50", "IMAGENET1K_V1")
    assert sentence.startswith(str(hub / "resnet50-0676ba61.pth"))
    assert sentence.endswith("delete it to download it again.")


def test_torchvisions_weights_do_not_fit_another_number_of_classes(hub):
    hub.mkdir(parents=True)
    stored(hub / "resnet50-0676ba61.pth", constants(build("resnet50", classes=1000), 0.5))
    assert "does not fit this resnet50: its 'fc.weight' has shape (1000, 2048), the model's has (10, 2048);" in refusal(
        build("resnet50"), "resnet50", "IMAGENET1K_V1"
    )


@pytest.mark.parametrize("weights", ["IMAGENET1K_V9", "DEFAULT"])
def test_torchvisions_weights_are_listed_where_there_are_none_of_that_name(weights):
    assert refusal(build("resnet50"), "resnet50", weights).endswith(
        "of a run's checkpoint.pt, or one of torchvision's weights for resnet50 (IMAGENET1K_V1, IMAGENET1K_V2)."
    )


def test_a_model_that_is_called_as_one_of_torchvisions_and_is_not_has_none_of_its_weights():
    assert "vgg16" in torchvision.models.list_models() and "vgg16" in registry.models.names()
    assert refusal(build("vgg16"), "vgg16", "IMAGENET1K_V1").endswith("a state dict or of a run's checkpoint.pt.")


def test_a_model_of_torchvisions_under_a_name_of_ones_own_has_none_either():
    model = torchvision.models.squeezenet1_1(num_classes=10)
    assert refusal(model, "mine", "IMAGENET1K_V1").endswith("a state dict or of a run's checkpoint.pt.")
