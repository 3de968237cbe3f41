"""TensorBoard events, written with TensorBoard's own format of records: one event file per folder, no stray sub-runs, no torch.

Shapes: U units, I = C·H·W inputs of an image of C channels, H×W pixels.
"""

import io
import itertools
import math
import os
import platform
import struct
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from snip_cli.config.schema import Config
from snip_cli.runfolder.record import read_evaluations, read_findings
from snip_cli.runfolder.results import Evaluation, LayerCount, Metrics, SeedResult
from snip_cli.runtime.files import writing

# In the names of the event files of this process.
_numbers = itertools.count()
HPARAM_METRIC = "test_error_mean"
# TensorBoard shows five columns at first; those that are marked as differing come before others.
HPARAMS_THAT_DIFFER = ("method", "model", "dataset", "sparsity")
HPARAMS_FIRST = (
    *("schedule.iterations", "schedule.batch_size", "schedule.optimizer", "schedule.learning_rate", "schedule.anneal"),
    *("init.name", "init_train.name"),
)
# Settings that change nothing unless another one has a value that uses them.
USED_BY: Mapping[str, tuple[str, Collection[object]]] = {
    "milestones": ("anneal", ("step",)),
    "decay": ("anneal", ("step",)),
    "momentum": ("optimizer", ("sgd",)),
    "nesterov": ("optimizer", ("sgd",)),
    "translate_pixels": ("augmentation", ("flip_translate", "flip_translate_released")),
}
# What the columns `method`, `model` and `dataset` show already.
NAMES = ("method.name", "model.name", "dataset.name")


class EventFile:
    """A folder's only event file; opening it removes older ones. Raises RunError where it cannot be written.

    TensorBoard's `EventFileWriter` writes in a thread, which shows a traceback of its own when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{int(time.time())}.{platform.node()}.{os.getpid()}.{next(_numbers)}"
        self._path = folder / name
        with writing(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink(missing_ok=True)
            self._records = RecordWriter(self._path.open("wb"))
        source = SourceMetadata(writer="snip-run")
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2", source_metadata=source))

    def _write(self, event: Event) -> None:
        with writing(self._path):
            self._records.write(event.SerializeToString())
            self._records.flush()

    def summary(self, summary: Any, step: int = 0) -> None:
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def scalar(self, tag: str, value: float, step: int, description: str = "") -> None:
        about = SummaryMetadata(summary_description=description)
        self.summary(Summary(value=[Summary.Value(tag=tag, simple_value=value, metadata=about)]), step)

    def image(self, tag: str, png: bytes, step: int = 0, description: str = "") -> None:
        """Write a picture; `png` is the content of a PNG file."""
        width, height = struct.unpack(">II", png[16:24])  # of the PNG header
        image = Summary.Image(encoded_image_string=png, width=width, height=height)
        about = SummaryMetadata(summary_description=description)
        self.summary(Summary(value=[Summary.Value(tag=tag, image=image, metadata=about)]), step)

    def close(self) -> None:
        with writing(self._path):
            self._records.close()


class RunEvents:
    """One run's events: curves of every seed, the density of each layer after pruning, what the first layer keeps of each pixel where it
    is linear on the pixels, and one row of the HParams tab.

    The event file is written again whenever the run is opened, first with what the folder holds of the finished seeds: `finished` are
    their results and `masks` their masks by parameter name.
    """

    def __init__(
        self, config: Config, finished: Mapping[int, SeedResult], masks: Mapping[int, Mapping[str, numpy.ndarray]]
    ) -> None:
        self._config, self._finished, self._masks = config, finished, masks

    def __enter__(self) -> "RunEvents":
        self._file = EventFile(self._config.folder)
        row = hparams_of(self._config)
        self._file.summary(experiment(list(row)))
        self._file.summary(hparams.hparams_pb(row))
        self._replay()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _replay(self) -> None:
        """Write the finished seeds' masks and curves again, without images per second, which `metrics.csv` does not hold."""
        findings = read_findings(self._config.folder)
        for seed, result in self._finished.items():
            self.mask(seed, result.layers, self._masks.get(seed, {}), findings.get(str(seed), {}))
        for seed, row in read_evaluations(self._config.folder):
            if seed in self._finished:
                self.evaluation(seed, row)

    def mask(
        self,
        seed: int,
        layers: Sequence[LayerCount],
        mask: Mapping[str, numpy.ndarray],
        findings: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the density of the layers (step = a layer's place, and by the layer's name with step = seed), what the method found in them, and the picture of the first one."""
        places = "step = layer: " + ", ".join(f"{place} {layer.name}" for place, layer in enumerate(layers))
        found = (findings or {}).get("layers", {})
        for place, layer in enumerate(layers):
            self._file.scalar(f"density/seed{seed}", layer.kept / layer.total, place, places)
            self._file.scalar(f"density_by_layer/{layer.name}", layer.kept / layer.total, seed, "step = seed")
            self._findings(seed, place, found.get(layer.name, {}), places)
        kept_HW = first_layer(mask, self._config.dataset.shape) if mask else None
        if kept_HW is not None:
            self._file.image(f"first_layer/seed{seed}", as_png(kept_HW), description="weights kept per pixel")

    def _findings(self, seed: int, place: int, found: Mapping[str, Any], places: str) -> None:
        """Write what a method found in one layer: numbers as scalars, {edges, counts} as histograms; step = the layer's place."""
        for name, value in found.items():
            if isinstance(value, dict):
                self._file.summary(histogram(f"{name}/seed{seed}", value["edges"], value["counts"], places), place)
            elif isinstance(value, int | float):
                self._file.scalar(f"{name}/seed{seed}", value, place, places)

    def evaluation(self, seed: int, row: Evaluation) -> None:
        """Write one point of each curve; a value that is not finite is left out."""
        for name, value in row.to_json().items():
            if name != "iteration" and math.isfinite(value):
                self._file.scalar(f"{name}/seed{seed}", value, row.iteration)

    def finish(self, metrics: Metrics) -> None:
        """Write the run's mean test error and mark its row of the HParams tab as finished."""
        self._file.scalar(HPARAM_METRIC, metrics.test_error_mean, 0)
        self._file.summary(session_end())


def hparams_of(config: Config) -> dict[str, bool | int | float | str]:
    """Return a run's row of the HParams tab: every setting that determines the result, so that no two runs look alike.

    Settings that another one leaves unused, such as milestones of a cosine, are left out. The usual ones come first. A setting of a section has a dotted name, as in `schedule.learning_rate`.
    """
    settings = config.settings()
    names = {"method": config.method_name, "model": config.model.name, "dataset": config.dataset.name}
    row = names | {"sparsity": config.sparsity, "first_seed": config.seed, "seeds": config.seeds}
    flat = dict(flat_settings({key: value for key, value in settings.items() if key not in ("sparsity", "seed")}))
    flat = {name: value for name, value in flat.items() if _is_used(name, flat)}
    first = {name: flat[name] for name in HPARAMS_FIRST if name in flat}
    return row | first | {name: value for name, value in flat.items() if name not in first and name not in NAMES}


def _is_used(name: str, flat: Mapping[str, object]) -> bool:
    """Return whether a setting matters beside the others of its section."""
    section, _, own = name.rpartition(".")
    other, values = USED_BY.get(own, ("", ()))
    return f"{section}.{other}" not in flat or flat[f"{section}.{other}"] in values


def flat_settings(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """Yield the settings of nested dictionaries by dotted name; a list as text."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            # The options of a section are settings of the section.
            yield from flat_settings(value, prefix if key == "options" else f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value if isinstance(value, bool | int | float | str) else str(value)


def histogram(tag: str, edges: Sequence[float], counts: Sequence[int], description: str) -> Summary:
    """Return a histogram of len(counts) buckets between len(counts) + 1 rising edges."""
    buckets = numpy.column_stack([edges[:-1], edges[1:], counts])
    about = histogram_metadata.create_summary_metadata(display_name="", description=description)
    return Summary(value=[Summary.Value(tag=tag, tensor=make_tensor_proto(buckets), metadata=about)])


def experiment(names: Sequence[str]) -> Summary:
    """Return the columns of the HParams tab and its one metric, the mean test error."""
    columns = [api_pb2.HParamInfo(name=name, differs=name in HPARAMS_THAT_DIFFER) for name in names]
    metric = api_pb2.MetricInfo(name=api_pb2.MetricName(tag=HPARAM_METRIC), display_name="mean test error (%)")
    made = api_pb2.Experiment(hparam_infos=columns, metric_infos=[metric])
    return _plugin_summary(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=made))


def session_end() -> Summary:
    """Return what marks a row of the HParams tab as finished."""
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.STATUS_SUCCESS, end_time_secs=time.time())
    return _plugin_summary(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))


def _plugin_summary(tag: str, data: plugin_data_pb2.HParamsPluginData) -> Summary:
    # TensorBoard's own functions for these two need TensorFlow, or cannot say which columns differ.
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data))])


def first_layer(mask: Mapping[str, numpy.ndarray], shape: Sequence[int]) -> numpy.ndarray | None:
    """Return how many weights of the first layer each pixel keeps, kept_HW, summed over units and channels (Figure 2 of Lee et al. 2019).

    `mask` is by parameter name, True = kept, with the first layer's weight first; `shape` is [C, H, W]. None where that layer is not
    linear on the pixels.
    """
    keep_UI = next(iter(mask.values()))
    if keep_UI.ndim != 2 or keep_UI.shape[1] != math.prod(shape):
        return None
    return numpy.asarray(keep_UI).sum(axis=0).reshape(tuple(shape)).sum(axis=0)


def as_png(kept_HW: numpy.ndarray, enlarged: int = 8) -> bytes:
    """Return a grey picture as the bytes of a PNG file: 0 is black, the largest number white; each pixel becomes a square."""
    from PIL import Image  # takes a while to import

    grey_HW = numpy.round(255 * kept_HW / max(kept_HW.max(), 1)).astype(numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(grey_HW.repeat(enlarged, axis=0).repeat(enlarged, axis=1)).save(file, format="png")
    return file.getvalue()
