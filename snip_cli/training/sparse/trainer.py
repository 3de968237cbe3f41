"""One network in training with its kept weights alone, on a processor. Its states are those of `Trainer`. I: iterations."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.data.draws import BatchOrder
from snip_cli.data.splits import Data, Split
from snip_cli.models.building import State
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask
from snip_cli.runtime.processes import SINGLE_PROCESS
from snip_cli.runtime.streams import generator
from snip_cli.training.loop import Meter, Training
from snip_cli.training.sparse.images import Images
from snip_cli.training.sparse.kernels.records import Settings
from snip_cli.training.sparse.tables import Array
from snip_cli.training.trainer import optimizer_for

# Iterations between two looks at the progress bar and at Ctrl-C.
PIECE = 100


class SparseNetwork(Protocol):
    """A pruned network whose kept weights, in an order of its own, are the array `weights`.

    Attributes:
        weights: set by `set_weights`.
        moments: by PyTorch's name, what the optimizer remembers of each weight.
    """

    weights: Array
    moments: dict[str, Array]

    def set_weights(self, taken: Array) -> None:
        """Set the weights to what `take` returned."""
        ...

    def train(self, images: Images, rows_IB: Array, rates_I: Array, settings: Settings, step: int) -> Array:
        """Train on batches of a split's rows, at these learning rates, after `step` iterations; returns the losses (I), float64."""
        ...

    def evaluate(self, images: Images) -> tuple[int, float]:
        """Return how many images are classified wrongly, and the sum of their cross-entropies in nats."""
        ...

    def take(self, named: Mapping[str, Tensor]) -> Array:
        """Return the kept entries of tensors in the parameters' shapes, in the order of `weights`."""
        ...

    def put(self, taken: Array) -> dict[str, Tensor]:
        """Return tensors in the parameters' shapes from what `take` returned; pruned entries are 0."""
        ...


class SparseTrainer(Training):
    """A network in training, in the form of a `SparseNetwork`; the model itself is up to date in what `weights` and `states` return."""

    engine = "sparse"

    def __init__(
        self, model: nn.Module, network: SparseNetwork, mask: Mask, data: Data, schedule: Schedule, seed: int
    ) -> None:
        super().__init__(data, schedule, [seed], SINGLE_PROCESS)
        self.model, self.network, self.mask, self.seed = model, network, mask, seed
        self.names = list(prunable_parameters(model))
        self._images = {id(split): Images.of(split) for split in (data.train, data.validation, data.test)}
        self._order = BatchOrder(len(data.train), schedule.batch_size, seed)
        self._settings = Settings(
            schedule.optimizer == "adam", schedule.momentum, schedule.nesterov, schedule.weight_decay
        )
        # Iterations that the optimizer has done, which are not those of the schedule after rewinding.
        self._steps = 0
        network.set_weights(network.take(dict(model.named_parameters())))

    def advance(self, count: int, meter: Meter) -> Tensor:
        """Do `count` iterations, without Python between them but for the progress bar."""
        end, losses = self.iteration + count, []
        while self.iteration < end:
            stop = min(end, self.iteration + PIECE)
            rows_IB = self._order.rows(self.iteration, stop).numpy()
            rates_I = np.array([self.schedule.rate_at(iteration) for iteration in range(self.iteration, stop)])
            train = self._images[id(self.data.train)]
            losses.append(self.network.train(train, rows_IB, rates_I, self._settings, self._steps))
            self._steps += stop - self.iteration
            meter.done(stop - self.iteration)
            self.iteration = stop
        return torch.from_numpy(np.concatenate(losses))[:, None]

    def evaluate(self, split: Split) -> list[tuple[float, float]]:
        wrong, loss = self.network.evaluate(self._images[id(split)])
        return [(100.0 * wrong / len(split), loss / len(split))]

    def finite_weights(self) -> list[bool]:
        return [bool(np.isfinite(self.network.weights).all())]

    def finish(self) -> None:
        """Do nothing: the weights are final."""

    def after_checkpoint(self) -> None:
        """Do nothing: the kernels draw no random numbers."""

    def weights(self) -> list[State]:
        self.model.load_state_dict(self.network.put(self.network.weights), strict=False)
        return [{name: tensor.cpu() for name, tensor in self.model.state_dict().items()}]

    def masks(self) -> list[Mask]:
        return [{name: keep.cpu() for name, keep in self.mask.items()}]

    def states(self) -> dict[int, dict[str, Any]]:
        [weights] = self.weights()
        parameters = [torch.empty(0) for _ in self.names]
        [group] = optimizer_for(parameters, [], self.schedule).state_dict()["param_groups"]
        group["lr"] = self.schedule.rate_at(self.iteration - 1)
        state = {
            "engine": self.engine,
            "model": weights,
            "optimizer": {"state": self._moments(), "param_groups": [group]},
            "progress": self.progress[0].state(),
            "random": generator(self.seed, "training").get_state(),
            "random_cuda": None,
        }
        return {self.seed: state}

    def _moments(self) -> dict[int, dict[str, Tensor]]:
        """Return what the optimizer remembers, as PyTorch's `state_dict` holds it."""
        if not self._steps:
            return {}
        named = {moment: self.network.put(taken) for moment, taken in self.network.moments.items()}
        step = {"step": torch.tensor(float(self._steps))} if self._settings.adam else {}
        used = ("exp_avg", "exp_avg_sq") if self._settings.adam else ("momentum_buffer",)
        return {
            number: {**{key: value.clone() for key, value in step.items()}, **{m: named[m][name] for m in used}}
            for number, name in enumerate(self.names)
        }

    def load(self, states: Sequence[Mapping[str, Any]]) -> None:
        [state] = states
        self.model.load_state_dict(state["model"])
        self.network.set_weights(self.network.take(dict(self.model.named_parameters())))
        held = state["optimizer"]["state"]
        if held:
            for moment, array in self.network.moments.items():
                if held[0].get(moment) is not None:
                    array[:] = self.network.take({name: held[number][moment] for number, name in enumerate(self.names)})
        self.resume([state["progress"]])
        self._steps = int(held[0]["step"]) if held and "step" in held[0] else self.iteration * bool(held)
