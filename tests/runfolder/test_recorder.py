"""The writer of a run's folder: the mask that training ends with is the one that is kept."""

import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snip_cli.config.composition import composer
from snip_cli.config.reading import load
from snip_cli.runfolder import checkpoint
from snip_cli.runfolder.recorder import PrunedSeed, Recorder
from snip_cli.runfolder.results import Evaluation, LayerCount, SeedResult

FIRST, LAST = ({"fc1.weight": torch.tensor([[True, keep]])} for keep in (True, False))
ROW = Evaluation(8, 0.1, 1.0, 1.5, 20.0, 1.6, 12.5)


@pytest.fixture
def config(tmp_path):
    with composer(None) as compose:
        return load(compose.compose(["dataset=digits", "sparsity=0.5", f"output_dir={tmp_path}"]))


def counts(mask):
    return [LayerCount("fc1", 2, int(mask["fc1.weight"].sum()))]


def record(config, *, known_at_start):
    """Let one seed end with the mask LAST."""
    result = SeedResult.of_training(0, [ROW], counts(LAST), train_seconds=2.0, prune_seconds=0.0, effective_kept=1)
    start = {0: PrunedSeed(known_at_start, counts(known_at_start))} if known_at_start else {}
    with Recorder.open(config, "cpu") as recorder:
        recorder.begin_seeds({0: []}, start, "masked")
        recorder.evaluated(0, ROW)
        recorder.finish_seeds([result], {0: {"fc1.weight": torch.ones(1, 2)}}, {0: LAST}, images=80)
        recorder.finish()
    return config.folder


def densities(folder):
    return [event.value for event in EventAccumulator(str(folder)).Reload().Scalars("density/seed0")]


@pytest.mark.parametrize(
    ("start", "expected"),
    [(None, [0.5]), (FIRST, [1.0, 0.5]), (LAST, [0.5])],
    ids=["unknown at the start", "changed by training", "not changed"],
)
def test_mask_counts_and_densities_are_those_of_the_final_mask(config, start, expected):
    folder = record(config, known_at_start=start)
    [(seed, mask)] = checkpoint.load_masks(folder).items()
    assert seed == 0
    assert torch.equal(mask["fc1.weight"], LAST["fc1.weight"])
    assert json.loads((folder / "metrics.json").read_text())["kept"] == 1
    assert densities(folder) == expected


def test_a_mask_that_is_known_at_the_start_is_there_while_the_seed_trains(config):
    with Recorder.open(config, "cpu") as recorder:
        recorder.begin_seeds(
            {0: []}, {0: PrunedSeed(FIRST, counts(FIRST), {"layers": {"fc1": {"limit": 0.5}}})}, "masked"
        )
        assert list(checkpoint.load_masks(config.folder)) == [0]
    assert json.loads((config.folder / "pruning.json").read_text()) == {"0": {"layers": {"fc1": {"limit": 0.5}}}}


def test_early_weights_are_kept_by_iteration_and_seed(config):
    with Recorder.open(config, "cpu") as recorder:
        recorder.keep_early(5, {0: {"w": torch.ones(2)}})
        recorder.keep_early(5, {1: {"w": torch.zeros(2)}})
    assert sorted(checkpoint.load_early(config.folder, 5)) == [0, 1]
    assert checkpoint.load_early(config.folder, 6) == {}


def test_rates_and_device_are_in_the_environment_and_an_earlier_attempt_is_kept(config):
    for _ in range(2):
        folder = record(config, known_at_start=FIRST)
    made = json.loads((folder / "env.json").read_text())
    assert (made["device"], made["images_per_second"]) == ("cpu", {"0": 40.0})
    assert [earlier["device"] for earlier in made["earlier"]] == ["cpu"]
