"""TensorBoard events, written with TensorBoard's own writer: one event file a folder, no stray sub-runs, no torch."""

import math
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from snip_cli.runfolder.folder import RunFolder
from snip_cli.runfolder.picture import as_png, first_layer
from snip_cli.runfolder.record import read_evaluations, read_json

NumpyMask = Mapping[str, numpy.ndarray]

HPARAM_METRIC = "test_error_mean"
# TensorBoard shows five columns at first, and among them those that are said to differ.
HPARAMS_THAT_DIFFER = ("method", "model", "dataset", "sparsity")


class EventFile:
    """A folder's only event file: older ones are removed when it is opened."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)
        self._writer = EventFileWriter(str(folder))

    def summary(self, summary: Any, step: int = 0) -> None:
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def scalar(self, tag: str, value: float, step: int, description: str = "") -> None:
        about = SummaryMetadata(summary_description=description)
        self.summary(Summary(value=[Summary.Value(tag=tag, simple_value=value, metadata=about)]), step)

    def image(self, tag: str, png: bytes, step: int = 0, description: str = "") -> None:
        """A picture, the content of a PNG file."""
        width, height = struct.unpack(">II", png[16:24])  # where the format has them
        image = Summary.Image(encoded_image_string=png, width=width, height=height)
        about = SummaryMetadata(summary_description=description)
        self.summary(Summary(value=[Summary.Value(tag=tag, image=image, metadata=about)]), step)

    def close(self) -> None:
        self._writer.close()


class RunEvents:
    """One run's events: curves of every seed, the density of each layer after pruning, what each pixel keeps of the first layer where
    that is linear on the pixels, and one row of the HParams tab.

    `finished` are the results of the seeds that are done, `masks` theirs by parameter name.
    """

    def __init__(
        self, folder: RunFolder, finished: Mapping[int, dict[str, Any]], masks: Mapping[int, NumpyMask]
    ) -> None:
        self._folder, self._finished, self._masks = folder, finished, masks

    def __enter__(self) -> "RunEvents":
        self._file = EventFile(self._folder.path)
        config = self._folder.config
        row = {
            "method": config.method_name,
            "model": config.model.name,
            "dataset": config.dataset.name,
            "sparsity": config.sparsity,
            "first_seed": config.seed,
            "seeds": config.seeds,
        }
        self._file.summary(experiment(list(row)))
        self._file.summary(hparams.hparams_pb(row))
        self._replay()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _replay(self) -> None:
        """Write the finished seeds' densities and curves again (but images per second, which `env.json` keeps).

        The event file is made anew whenever the run is opened.
        """
        told = read_json(self._folder.path / "pruning.json") or {}
        for seed, result in self._finished.items():
            self.begin_seed(seed, result["layers"], [], told.get(str(seed), {}), self._masks.get(seed, {}))
        for row in read_evaluations(self._folder.path):
            seed = int(row.pop("seed"))
            if seed in self._finished:
                self.evaluation(seed, {column: float(value) for column, value in row.items()})

    def begin_seed(
        self,
        seed: int,
        layers: Sequence[dict[str, Any]],
        evaluations: Sequence[dict[str, float]],
        told: Mapping[str, Any],
        mask: NumpyMask,
    ) -> None:
        """The density of the layers (step = a layer's place), what the method told of them, the picture of the first one, and the curves
        up to where the seed goes on."""
        places = "step = layer: " + ", ".join(f"{place} {layer['name']}" for place, layer in enumerate(layers))
        for place, layer in enumerate(layers):
            self._file.scalar(f"density/seed{seed}", layer["kept"] / layer["total"], place, places)
            self.pruned_layer(seed, place, told.get("layers", {}).get(layer["name"], {}), places)
        kept_HW = first_layer(mask, self._folder.config.dataset.shape) if mask else None
        if kept_HW is not None:
            self._file.image(f"first_layer/seed{seed}", as_png(kept_HW), description="weights kept per pixel")
        for row in evaluations:
            self.evaluation(seed, row)

    def pruned_layer(self, seed: int, place: int, told: Mapping[str, Any], places: str) -> None:
        """A layer's numbers (step = its place) and its histograms, as its method told them."""
        for name, value in told.items():
            if isinstance(value, dict):
                self._file.summary(histogram(f"{name}/seed{seed}", value["edges"], value["counts"], places), place)
            elif isinstance(value, int | float):
                self._file.scalar(f"{name}/seed{seed}", value, place, places)

    def evaluation(self, seed: int, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name != "iteration" and math.isfinite(value):
                self._file.scalar(f"{name}/seed{seed}", value, int(row["iteration"]))

    def finish(self, metrics: dict[str, Any]) -> None:
        self._file.scalar(HPARAM_METRIC, metrics["test_error_mean"], 0)
        self._file.summary(session_end())


def histogram(tag: str, edges: Sequence[float], counts: Sequence[int], description: str) -> Summary:
    """A histogram of len(counts) buckets, bounded by the rising `edges`, one more."""
    buckets = numpy.column_stack([edges[:-1], edges[1:], counts])
    about = histogram_metadata.create_summary_metadata(display_name="", description=description)
    return Summary(value=[Summary.Value(tag=tag, tensor=make_tensor_proto(buckets), metadata=about)])


def experiment(names: Sequence[str]) -> Summary:
    """The columns of the HParams tab and its one metric, the mean test error."""
    columns = [api_pb2.HParamInfo(name=name, differs=name in HPARAMS_THAT_DIFFER) for name in names]
    metric = api_pb2.MetricInfo(name=api_pb2.MetricName(tag=HPARAM_METRIC), display_name="mean test error (%)")
    made = api_pb2.Experiment(hparam_infos=columns, metric_infos=[metric])
    return _plugin_summary(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=made))


def session_end() -> Summary:
    """What marks a row of the HParams tab as finished."""
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.STATUS_SUCCESS, end_time_secs=time.time())
    return _plugin_summary(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end))


def _plugin_summary(tag: str, data: plugin_data_pb2.HParamsPluginData) -> Summary:
    # TensorBoard's own functions for these two need TensorFlow, or cannot say which columns differ.
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data))])
