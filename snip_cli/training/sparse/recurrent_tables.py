"""The tables of a recurrent network's kept weights.

A weight's number is its place in all parameters, one after another. U: units that matter to the outputs, F: projected features, P: pixels of a
row, K: classes, G: the sums of all units, R: what the sums read: features, then units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from snip_cli.models.recurrent import RowByRow
from snip_cli.pruning.mask import Mask
from snip_cli.training.sparse.kernels.recurrent_records import SUM, SUMS
from snip_cli.training.sparse.kernels.vectors import WIDTH
from snip_cli.training.sparse.recurrent_layers import BIAS_HH, BIAS_IH, HH, IH, NAMES
from snip_cli.training.sparse.tables import Array
from snip_cli.training.stacked.rows import Rows

# By sum of a unit: the gate that it belongs to, what it reads by which weights and with which bias, and its activation.
FEATURES, UNITS = (IH, BIAS_IH), (HH, BIAS_HH)
LSTM_SUMS = tuple((gate, (FEATURES, UNITS), scale) for gate, scale in enumerate((1.0, 1.0, 2.0, 1.0)))
GRU_SUMS = (
    *((gate, (FEATURES, UNITS), 1.0) for gate in (0, 1)),
    *((2, (part,), 0.0) for part in (FEATURES, UNITS)),
)


@dataclass(frozen=True)
class Entries:
    """The kept weights of a matrix, row by row: their numbers, the columns that they multiply, and where each row begins and the last ends."""

    numbers: Array
    columns: Array
    pointers: Array

    @classmethod
    def of(cls, numbers_RC: Array) -> "Entries":
        """Take the weights' numbers from a matrix; -1 stands for a pruned weight."""
        rows, columns = (numbers_RC >= 0).nonzero()
        ends = np.cumsum((numbers_RC >= 0).sum(axis=1), dtype=np.int64)
        return cls(numbers_RC[rows, columns], columns, np.concatenate([[0], ends]))

    def and_then(self, other: "Entries") -> "Entries":
        """Return the rows of both."""
        pointers = np.concatenate([self.pointers, other.pointers[1:] + self.pointers[-1]])
        numbers, columns = (self.numbers, other.numbers), (self.columns, other.columns)
        return Entries(np.concatenate(numbers), np.concatenate(columns), pointers)


class Layout:
    """How the parameters of a pruned recurrent network lie in the kernels' tables.

    Attributes:
        pixels, features, units: the numbers of the pixels of a row, the projected features and the units that are computed.
        rows: which sums have a row.
        projection, sums, classifier: the entries of these; the last two read what the sums read.
        back_sums, back_classifier: the entries of their transposes.
        order: the number of each weight.
        places: by number, which weight it is.
        biases: rows (result, number) of the kept biases; for results, see `recurrent_records`.
    """

    def __init__(self, mask: Mask, model: RowByRow) -> None:
        form = Rows(model)
        self.of_unit, self.gates = (LSTM_SUMS, 4) if form.is_lstm else (GRU_SUMS, 3)
        alive = form.alive({name: keep.cpu() for name, keep in mask.items()})
        self.pixels, self.features, self.units = (np.flatnonzero(part.numpy()) for part in alive)
        self.shapes = {name: mask[name].shape for name in NAMES}
        starts = accumulate((shape.numel() for shape in self.shapes.values()), initial=0)
        self._numbers = {
            name: np.where(mask[name].cpu().numpy(), start + np.arange(shape.numel()).reshape(shape), -1)
            for (name, shape), start in zip(self.shapes.items(), starts, strict=False)
        }
        sums_GR = self._sums()
        self.rows = np.flatnonzero((sums_GR >= 0).any(axis=1))
        classifier_KU = self._numbers["classifier.weight"][:, self.units]
        nothing = np.full((len(classifier_KU), len(self.features)), -1)
        self.projection = Entries.of(self._numbers["projection.weight"][np.ix_(self.features, self.pixels)])
        self.sums, self.back_sums = Entries.of(sums_GR[self.rows]), Entries.of(sums_GR[self.rows].T)
        self.classifier = Entries.of(np.concatenate([nothing, classifier_KU], axis=1))
        self.back_classifier = Entries.of(classifier_KU.T)
        self.order, self.places = self._order()
        self.biases = self._biases()

    def _order(self) -> tuple[Array, Array]:
        """Put the weights in the order of the entries, then those that no entry has."""
        kept = np.concatenate([numbers[numbers >= 0] for numbers in self._numbers.values()])
        entries = np.concatenate([part.numbers for part in (self.projection, self.sums, self.classifier)])
        order = np.concatenate([entries, np.setdiff1d(kept, entries)])
        places = np.zeros(self._size(), np.int64)
        places[order] = np.arange(len(order))
        return order, places

    def _size(self) -> int:
        return sum(shape.numel() for shape in self.shapes.values())

    def _by_gate(self, name: str) -> Array:
        """Return the numbers of a recurrent parameter by gate and unit."""
        numbers = self._numbers[name].reshape(self.gates, -1, *self.shapes[name][1:])
        return numbers[:, self.units]

    def _sums(self) -> Array:
        """Return the numbers of the weights of all sums, unit by unit (G×R)."""
        columns = {IH: self.features, HH: self.units}
        numbers = {name: self._by_gate(name)[:, :, read] for name, read in columns.items()}
        by_sum = [
            [
                numbers[name][gate] if (name, bias) in parts else np.full_like(numbers[name][gate], -1)
                for name, bias in (FEATURES, UNITS)
            ]
            for gate, parts, _ in self.of_unit
        ]
        sums_UGR = np.stack([np.concatenate(parts, axis=1) for parts in by_sum], axis=1)
        return sums_UGR.reshape(len(self.units) * SUMS, sums_UGR.shape[2])

    def _biases(self) -> Array:
        numbers = {name: self._by_gate(name) for name in (BIAS_IH, BIAS_HH)}
        first, units = len(self.features), np.arange(len(self.units)) * SUMS
        found = [
            (first + units + number, numbers[bias][gate])
            for number, (gate, parts, _) in enumerate(self.of_unit)
            for _, bias in parts
        ]
        of_classes = self._numbers["classifier.bias"]
        found.append((first + len(units) * SUMS + np.arange(len(of_classes)), of_classes))
        pairs = np.concatenate([np.stack(pair, axis=1) for pair in found])
        return pairs[pairs[:, 1] >= 0]

    def sum_records(self, stride: int) -> Array:
        """Return the records `SUM`; `stride` is the distance between rows."""
        count = len(self.units) * SUMS
        records = np.zeros(count, SUM)
        records["place"] = np.arange(count) * WIDTH
        records["slope"] = count * WIDTH
        rows = (count + 1) * WIDTH + np.arange(len(self.rows)) * stride
        for name, values in (("place", rows), ("slope", rows), ("step", len(self.rows) * stride), ("lane", WIDTH)):
            records[name][self.rows] = values
        return records

    def scales(self) -> Array:
        """Return for each result which activation follows."""
        of_sums = np.tile([scale for _, _, scale in self.of_unit], len(self.units))
        return self._by_result(of_sums)

    def constants(self, added: Array) -> Array:
        """Return for each result what is added that is no parameter; `added` says so for each gate of each unit of the model."""
        added_GU = added.reshape(self.gates, -1)[:, self.units]
        return self._by_result(np.stack([added_GU[gate] for gate, _, _ in self.of_unit], axis=1).ravel())

    def _by_result(self, of_sums: Array) -> Array:
        """Return values for all results from those of the sums; 0 for the others."""
        return np.concatenate([np.zeros(len(self.features)), of_sums, np.zeros(len(self.classifier.pointers) - 1)])

    def take(self, named: Mapping[str, Tensor]) -> Array:
        """Return the kept entries of the tensors of all parameters, in the order of the weights."""
        return np.concatenate([named[name].detach().cpu().numpy().ravel() for name in NAMES])[self.order]

    def put(self, taken: Array) -> dict[str, Tensor]:
        """Return the tensors of all parameters from what `take` returned; pruned entries are 0."""
        full = np.zeros(self._size(), taken.dtype)
        full[self.order] = taken
        parts = torch.from_numpy(full).split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
