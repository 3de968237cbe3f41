"""What TensorBoard is given: one event file and one row of the HParams tab a run."""

import io

import numpy
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from snip_cli.runfolder.events import hparams_of
from tests.config.test_schema import config_of
from tests.snip_run import read_metrics, run_quick


def test_one_event_file_holds_the_curves_of_every_seed(tmp_path):
    folder = run_quick(tmp_path, "seeds=2", "sparsity=0.95")
    events = EventAccumulator(str(folder)).Reload()
    names = (
        "learning_rate",
        "train_loss",
        "val_loss",
        "val_error",
        "test_loss",
        "test_error",
        "images_per_second",
        "density",
    )
    assert set(events.Tags()["scalars"]) == {f"{name}/seed{seed}" for name in names for seed in (0, 1)} | {
        "test_error_mean",
        *(f"density_by_layer/{layer}" for layer in ("fc1", "fc2", "fc3")),
    }
    for seed, result in enumerate(read_metrics(folder)["seeds"]):
        curve = events.Scalars(f"test_error/seed{seed}")
        assert [event.step for event in curve] == [4, 8]
        assert abs(curve[-1].value - result["test_error"]) < 1e-5


def test_the_density_of_every_layer(tmp_path):
    folder = run_quick(tmp_path, "sparsity=0.95")
    events = EventAccumulator(str(folder)).Reload()
    layers = read_metrics(folder)["layers"]
    found = [(event.step, round(event.value, 6)) for event in events.Scalars("density/seed0")]
    assert found == [(place, round(layer["kept"] / layer["total"], 6)) for place, layer in enumerate(layers)]


def test_the_density_of_a_layer_by_its_name_in_every_seed(tmp_path):
    folder = run_quick(tmp_path, "seeds=2", "seed=3", "sparsity=0.95")
    events = EventAccumulator(str(folder)).Reload()
    densities = {
        (layer["name"], result["seed"]): pytest.approx(layer["kept"] / layer["total"])
        for result in read_metrics(folder)["seeds"]
        for layer in result["layers"]
    }
    found = {
        (name, event.step): event.value
        for name in ("fc1", "fc2", "fc3")
        for event in events.Scalars(f"density_by_layer/{name}")
    }
    assert found == densities


def test_one_row_of_the_hparams_tab(tmp_path):
    folder = run_quick(tmp_path, "seeds=2", "sparsity=0.95")
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert not [path for path in folder.iterdir() if path.is_dir()]
    events = EventAccumulator(str(folder)).Reload()
    content = events.PluginTagToContent(metadata.PLUGIN_NAME)
    assert set(content) == {metadata.EXPERIMENT_TAG, metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG}
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    row = {name: value.string_value or value.number_value for name, value in start.hparams.items()}
    assert row == {**row} | {
        **{"method": "snip", "model": "lenet_300_100", "dataset": "digits"},
        **{"sparsity": 0.95, "first_seed": 0.0, "seeds": 2.0},
        **{"schedule.iterations": 8, "schedule.batch_size": 100, "schedule.optimizer": "sgd"},
        **{"schedule.learning_rate": 0.1, "schedule.anneal": "step", "init.name": "vs_x", "init_train.name": "vs_x"},
        **{"method.accumulate": "sum", "dtype": "float32"},
    }
    [mean] = events.Scalars("test_error_mean")
    assert abs(mean.value - read_metrics(folder)["test_error_mean"]) < 1e-5


CHANGES = [
    {"seed": 3},
    {"dtype": "float64"},
    {"sync_batchnorm": True},
    {"schedule.warmup": 7},
    {"schedule.anneal": "cosine"},
    {"schedule.milestones": [10, 20]},
    {"init.std": 0.25},
    {"dataset.augmentation": "flip_translate"},
    {"method.accumulate": "ema"},
    {"method.ablation": "invert"},
    {"method.classes": [3]},
    {"model.conv_relu": False},
]


# What one of these settings leaves unused in one of the two runs.
UNUSED = {
    "schedule.anneal": {"schedule.milestones", "schedule.decay"},
    "dataset.augmentation": {"dataset.translate_pixels"},
}


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: next(iter(changes)))
def test_no_two_runs_have_the_same_row(changes):
    """Of whatever setting differs the row has a column, so that rows differ where folders do."""
    one, other = config_of(), config_of(changes)
    assert one.folder != other.folder
    [(name, value)] = changes.items()
    rows = [hparams_of(each) for each in (one, other)]
    differing = {key for key in rows[0].keys() | rows[1].keys() if rows[0].get(key) != rows[1].get(key)}
    assert differing - UNUSED.get(name, set()) == {"first_seed" if name == "seed" else name}
    assert list(rows[0])[:4] == ["method", "model", "dataset", "sparsity"]
    assert rows[1]["first_seed" if name == "seed" else name] == (str(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("changes", "unused"),
    [
        ({"schedule.anneal": "cosine"}, {"schedule.milestones", "schedule.decay"}),
        ({"schedule.optimizer": "adam", "schedule.momentum": 0.0}, {"schedule.momentum", "schedule.nesterov"}),
    ],
)
def test_settings_that_another_one_leaves_unused_have_no_column(changes, unused):
    assert unused <= hparams_of(config_of()).keys()
    assert not unused & hparams_of(config_of(changes)).keys()


def first_layers(folder):
    events = EventAccumulator(str(folder)).Reload()
    pictures = {tag: events.Images(tag) for tag in events.Tags()["images"]}
    return {tag: Image.open(io.BytesIO(image.encoded_image_string)) for tag, [image] in pictures.items()}


def test_the_first_layer_is_a_picture_for_each_seed(tmp_path):
    folder = run_quick(tmp_path, "seeds=2", "sparsity=0.95")
    pictures = first_layers(folder)
    assert set(pictures) == {"first_layer/seed0", "first_layer/seed1"}
    for seed, mask in torch.load(folder / "mask.pt").items():
        kept = mask["fc1.weight"].sum(dim=0).view(28, 28).double()
        grey = numpy.asarray(pictures[f"first_layer/seed{seed}"])[::8, ::8]
        assert grey.tolist() == (255 * kept / kept.max()).round().int().tolist()


def test_the_pictures_of_finished_seeds_are_still_there_when_more_are_trained(tmp_path):
    run_quick(tmp_path, "sparsity=0.95")
    assert set(first_layers(run_quick(tmp_path, "seeds=2", "sparsity=0.95"))) == {
        "first_layer/seed0",
        "first_layer/seed1",
    }


def test_a_network_that_does_not_begin_with_a_linear_layer_on_the_pixels_has_no_picture(tmp_path):
    assert first_layers(run_quick(tmp_path, "model=gru_s")) == {}
