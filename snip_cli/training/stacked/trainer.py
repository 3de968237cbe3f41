"""Replicates of one network trained as one: each with its own mask, weights, batches and record.

R: replicates, B: images of a batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.data.draws import Draw
from snip_cli.data.splits import Data, Split
from snip_cli.models.building import State
from snip_cli.pruning.mask import Mask
from snip_cli.runtime.processes import SINGLE_PROCESS
from snip_cli.runtime.streams import generator
from snip_cli.training.evaluation import chunks
from snip_cli.training.stacked.stack import Form, Stack
from snip_cli.training.stepped import SteppedTraining
from snip_cli.training.trainer import optimizer_for

# What an optimizer holds: by the number of the parameter (in the order of `Stack.names`), then by name. It has the parameter's shape, as
# momentum does, or is one number for all parameters, as a count of steps is.
Moments = Mapping[int, Mapping[str, Tensor]]


class StackedTrainer(SteppedTraining):
    """Several networks of one form in training, one per seed, or one network without its dead units; states are those of `Trainer`."""

    engine = "stacked"

    def __init__(
        self,
        form: Form,
        models: Sequence[nn.Module],
        masks: Sequence[Mask],
        data: Data,
        schedule: Schedule,
        seeds: Sequence[int],
    ) -> None:
        super().__init__(data, schedule, seeds, SINGLE_PROCESS)
        self.models, self._masks = models, masks
        self.stack = Stack(form, models, masks)
        self.optimizer = optimizer_for(self.stack.parameters, [], schedule)

    def update(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on R·B images, replicate after replicate; returns the R losses, without label smoothing."""
        images_RBCHW, labels_RB = (part.unflatten(0, (len(self.seeds), -1)) for part in (images, labels))
        losses_R = self.stack.differentiate(images_RBCHW, labels_RB, self.schedule.label_smoothing)
        self.optimizer.step()
        self.stack.apply_masks()
        return losses_R

    def join(self, parts: Sequence[Draw]) -> Draw:
        """Return the replicates' draws one after the other."""
        rows, numbers = (torch.cat([getattr(part, name) for part in parts]) for name in ("rows", "numbers"))
        return Draw(rows, numbers, parts[0].progress)

    def evaluate(self, split: Split) -> list[tuple[float, float]]:
        return evaluate_stack(self.stack, split)

    def finite_weights(self) -> list[bool]:
        finite_R = torch.stack([weight.flatten(1).isfinite().all(dim=1) for weight in self.stack.blocks]).all(dim=0)
        return finite_R.tolist()

    def finish(self) -> None:
        """Do nothing: the weights are final."""

    def after_checkpoint(self) -> None:
        """Do nothing: a stack draws no random numbers."""

    def weights(self) -> list[State]:
        for model, weights in zip(self.models, self.stack.put(self.stack.parameters), strict=True):
            model.load_state_dict(weights)
        return [{name: tensor.cpu() for name, tensor in model.state_dict().items()} for model in self.models]

    def masks(self) -> list[Mask]:
        return [{name: keep.cpu() for name, keep in mask.items()} for mask in self._masks]

    def states(self) -> dict[int, dict[str, Any]]:
        weights, optimizers = self.weights(), single_states(self.stack, self.optimizer)
        return {
            self.seeds[number]: {
                "engine": self.engine,
                "model": weights[number],
                "optimizer": optimizers[number],
                "progress": self.progress[number].state(),
                "random": generator(self.seeds[number], "training").get_state(),
                "random_cuda": None,
            }
            for number in self.remaining()
        }

    def load(self, states: Sequence[Mapping[str, Any]]) -> None:
        for model, state in zip(self.models, states, strict=True):
            model.load_state_dict(state["model"])
        self.stack.set(self.stack.take([model.state_dict() for model in self.models]))
        set_moments(self.stack, self.optimizer, [state["optimizer"]["state"] for state in states])
        self.resume([state["progress"] for state in states])


@torch.no_grad()
def evaluate_stack(stack: Stack, split: Split) -> list[tuple[float, float]]:
    """Return (error in percent, mean cross-entropy in nats) of every network of a stack."""
    wrong_R = torch.zeros(stack.count, dtype=torch.int64, device=split.device)
    loss_R = torch.zeros(stack.count, dtype=torch.float64, device=split.device)
    for images, labels in split.selected(chunks(split, stack.count)):
        outputs_RBK = stack(images.expand(stack.count, *images.shape))
        wrong_R += (outputs_RBK.argmax(dim=2) != labels).sum(dim=1)
        losses = F.cross_entropy(outputs_RBK.flatten(0, 1), labels.repeat(stack.count), reduction="none")
        loss_R += losses.view(stack.count, -1).sum(dim=1)
    errors_R, means_R = 100 * wrong_R.double() / len(split), loss_R / len(split)
    return list(zip(errors_R.tolist(), means_R.tolist(), strict=True))


def single_states(stack: Stack, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the `state_dict` that each network's optimizer would have alone, on the CPU."""
    content = optimizer.state_dict()
    held: Moments = content["state"]
    found: list[dict[int, dict[str, Tensor]]] = [{i: {} for i in range(len(stack.names))} for _ in range(stack.count)]
    for key in held_names(held):
        values = [held[i][key] for i in range(len(held))]
        singles = stack.put(values) if values[0].dim() else None
        for number, state in enumerate(found):
            for i, name in enumerate(stack.names):
                # A copy for each: an optimizer counts on in place.
                state[i][key] = singles[number][name] if singles else values[0].cpu().clone()
    [group] = content["param_groups"]
    group = {**group, "params": list(range(len(stack.names)))}
    return [{"state": state, "param_groups": [group]} for state in found]


def set_moments(stack: Stack, optimizer: torch.optim.Optimizer, singles: Sequence[Moments]) -> None:
    """Set the optimizer to what those of single networks hold; raises KeyError if these are of other networks."""
    found: dict[int, dict[str, Tensor]] = {i: {} for i in range(len(stack.parameters))}
    for key in held_names(singles[0]):
        named = [{name: held[i][key] for i, name in enumerate(stack.names)} for held in singles]
        first = named[0][stack.names[0]]
        values = stack.take(named) if first.dim() else [first.clone() for _ in found]
        for i, value in enumerate(values):
            found[i][key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": found})


def held_names(held: Moments) -> list[str]:
    """Return the names of what an optimizer holds of each parameter: none before its first step, or without momentum."""
    return [key for key, value in held.get(0, {}).items() if value is not None]
