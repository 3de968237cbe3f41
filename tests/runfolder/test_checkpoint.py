import json
import shutil

import pytest
import torch

from snip_cli.errors import ConfigError, RunError
from snip_cli.runfolder import checkpoint
from snip_cli.runfolder.checkpoint import Saved
from snip_cli.runfolder.results import LayerCount, SeedResult


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "snip-some-run"
    path.mkdir()
    return path


def example():
    """What a run has in the midst of its second seed."""
    weights = {"fc.weight": torch.tensor([[0.5, -0.0], [1e-40, 3.0]]), "norm.num_batches_tracked": torch.tensor(7)}
    mask = {"fc.weight": torch.tensor([[True, False], [False, True]])}
    evaluations = [{"iteration": 5, "test_error": 12.5}]
    result = SeedResult(3, 12.5, layers=[LayerCount("fc", 4, 2)], prune_seconds=0.1)
    training = {"seed": 4, "mask": mask, "state": {"progress": {"iteration": 5, "evaluations": evaluations}}}
    return Saved(weights={3: weights}, masks={3: mask, 4: mask}, results={3: result}, training={4: training})


def save(folder, saved):
    checkpoint.save(folder, saved)
    checkpoint.save_masks(folder, saved)


def assert_same(found, expected):
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor)
    assert list(found) == list(expected)


def test_what_is_saved_is_loaded(folder):
    expected = example()
    save(folder, expected)
    found = checkpoint.load(folder)
    assert found.results == expected.results
    assert_same(found.weights[3], expected.weights[3])
    for seed in (3, 4):
        assert_same(found.masks[seed], expected.masks[seed])
    assert list(found.training) == [4]
    assert found.training[4]["state"] == expected.training[4]["state"]
    assert_same(found.training[4]["mask"], expected.training[4]["mask"])


def test_a_checkpoint_of_before_several_seeds_at_a_time_is_read(folder):
    [(seed, training)] = example().training.items()
    content = {"format": "snip-run 1", "run": folder.name, "weights": {}, "results": {}, "training": training}
    torch.save(content, folder / "checkpoint.pt")
    found = checkpoint.load(folder).training
    assert list(found) == [seed]
    assert found[seed]["state"] == training["state"]


def test_without_a_seed_in_training_there_is_no_training_state(folder):
    saved = example()
    saved.training = {}
    save(folder, saved)
    assert checkpoint.load(folder).training == {}


def test_a_folder_without_files_holds_nothing(folder):
    assert checkpoint.load(folder) == Saved()


def test_finished_results_are_read_from_the_metrics_where_the_checkpoint_lacks_them(folder):
    checkpoint.save(folder, example())
    (folder / "metrics.json").write_text(json.dumps({"seeds": [{"seed": seed, "test_error": 1.0} for seed in (2, 3)]}))
    found = checkpoint.load(folder).results
    assert found == {2: SeedResult(2, 1.0), 3: example().results[3]}


@pytest.mark.parametrize("file", ["checkpoint.pt", "mask.pt"])
@pytest.mark.parametrize(
    "damage", [lambda content: content[:-30], lambda content: b"", lambda content: b"no zip at all"]
)
def test_a_damaged_file_is_named(damage, file, folder):
    save(folder, example())
    (folder / file).write_bytes(damage((folder / file).read_bytes()))
    with pytest.raises(ConfigError) as refusal:
        checkpoint.load(folder)
    assert str(refusal.value).startswith(f"{folder / file} is damaged")
    assert f"delete the folder {folder}" in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [{"state_dict": {}}, [1, 2], torch.zeros(2), {"format": "snip-run 1"}, {"format": "other", "run": "snip-some-run"}],
)
def test_a_file_of_another_program_is_named(content, folder):
    torch.save(content, folder / "checkpoint.pt")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt belongs to another run or program: delete the folder"):
        checkpoint.load(folder)


def test_a_checkpoint_of_another_run_is_named(folder, tmp_path):
    save(folder, example())
    shutil.copytree(folder, tmp_path / "snip-other-run")
    with pytest.raises(ConfigError, match=r"snip-other-run.* belongs to another run"):
        checkpoint.load(tmp_path / "snip-other-run", run="snip-other-run")


def test_a_renamed_folder_can_still_be_read(folder, tmp_path):
    save(folder, example())
    shutil.copytree(folder, tmp_path / "renamed")
    assert checkpoint.load(tmp_path / "renamed").results == checkpoint.load(folder).results


class Intruder:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("file", ["checkpoint.pt", "mask.pt"])
def test_a_file_with_code_in_it_is_refused_and_the_code_not_run(file, folder, tmp_path):
    torch.save({"format": "snip-run 1", "run": folder.name, "weights": Intruder(tmp_path / "intruder")}, folder / file)
    with pytest.raises(ConfigError, match="is damaged"):
        checkpoint.load(folder)
    assert not (tmp_path / "intruder").exists()


@pytest.mark.parametrize("file", ["checkpoint.pt", "mask.pt"])
def test_the_files_hold_tensors_and_plain_python_only(file, folder):
    save(folder, example())
    assert isinstance(torch.load(folder / file, weights_only=True), dict)


def test_a_save_that_breaks_off_leaves_the_earlier_one(folder, monkeypatch):
    save(folder, example())

    def break_off(content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(RunError, match="no space"):
        checkpoint.save(folder, Saved())
    assert checkpoint.load(folder).results == example().results
