"""One masked network in training, on one schedule, from any iteration on."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.data.splits import Batch, Data, draws
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask, apply_mask
from snip_cli.runfolder.results import Evaluation
from snip_cli.runtime.processes import SINGLE_PROCESS, ProcessGroup
from snip_cli.runtime.streams import generator
from snip_cli.training import loop
from snip_cli.training.evaluation import evaluate
from snip_cli.training.forward import Forward
from snip_cli.training.progress import Progress


class Trainer:
    """A model in training; its state can be taken (`state`) and set (`load`) between two iterations."""

    def __init__(
        self,
        model: nn.Module,
        mask: Mask,
        data: Data,
        schedule: Schedule,
        seed: int,
        *,
        forward: Forward | None = None,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.model, self.data, self.schedule, self.seed = model, data, schedule, seed
        self.forward, self.group = forward or Forward(model), group
        self.optimizer = make_optimizer(model, schedule)
        self.progress = Progress()
        self.failed: dict[int, loop.DivergedError] = {}
        self.reseed()
        apply_mask(model, mask)
        parameters = dict(model.named_parameters())
        pruned = {name: keep for name, keep in mask.items() if not keep.all()}
        self.pruned = [parameters[name] for name in pruned]
        self.masks = [keep.to(parameters[name]) for name, keep in pruned.items()]

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One iteration: forward, backward, optimizer step, mask; returns the loss, still on the device."""
        loss = F.cross_entropy(self.forward.training(images), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.masks:
            with torch.no_grad():
                torch._foreach_mul_(self.pruned, self.masks)
        return loss.detach()

    def train(
        self,
        *,
        evaluated: Callable[[int, Evaluation], None],
        checkpoint: Callable[[dict[int, dict[str, Any]]], None],
        bar: bool = False,
    ) -> None:
        """Train to the schedule's end; `evaluated` gets the seed and each evaluation's row, `checkpoint` the state to be kept, by seed.

        Raises DivergedError, which is then in `failed` too, where the loss is not finite; what `checkpoint` got before is from before that.
        """
        progress = self.progress

        def evaluate(images_per_second: float) -> float:
            row = self.evaluation(images_per_second)
            progress.evaluations.append(row)
            progress.losses.clear()
            evaluated(self.seed, row)
            return row.test_error

        def keep() -> None:
            self.check_weights(progress.iteration)
            checkpoint({self.seed: self.state()})
            if self.group.size > 1:
                self.reseed()

        self.model.train()
        try:
            loop.train(self, f"seed {self.seed}", evaluate=evaluate, keep=keep, bar=bar)
        except loop.DivergedError as error:
            self.failed[self.seed] = error
            raise

    def reseed(self) -> None:
        """Seed what a network draws while it trains, as dropout does, by the seed, the process and the iteration.

        One process's checkpoint holds where its generator stands; of several processes each begins anew at every checkpoint.
        """
        number = self.progress.iteration * self.group.size + self.group.rank
        torch.manual_seed(generator(self.seed, "training", number).initial_seed())

    def batches(self) -> Iterator[Batch]:
        """This process's share of the training batches from the next iteration on, for ever."""
        train, schedule = self.data.train, self.schedule
        drawn = draws(
            len(train),
            schedule.batch_size,
            self.seed,
            start=self.progress.iteration,
            iterations=schedule.iterations,
            device=train.rows_device,
        )
        return train.drawn(draw.share(self.group.rank, self.group.size) for draw in drawn)

    def set_learning_rate(self, iteration: int) -> None:
        """Set the rate of the iteration that comes next (counted from 0)."""
        rate = self.schedule.rate_at(iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def take_losses(self, losses: list[Tensor], done: int) -> None:
        """Keep the losses (mean over the processes) that end at iteration `done`; raises DivergedError at the first that is not finite."""
        values = self.group.all_reduce(torch.stack(losses)) / self.group.size
        bad = (~torch.isfinite(values)).nonzero()
        if len(bad):
            raise loop.not_finite(self.schedule, done - len(losses) + int(bad[0]) + 1)
        self.progress.losses += values.tolist()

    def check_weights(self, done: int) -> None:
        """Raise DivergedError where iteration `done` left a weight that is not finite, so that no checkpoint holds one."""
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters()):
            raise loop.not_finite(self.schedule, done)

    def evaluation(self, images_per_second: float) -> Evaluation:
        """One row of metrics.csv, and the rate of images since the last one."""
        how = {"forward": self.forward, "group": self.group}
        validation = evaluate(self.model, self.data.validation, **how)
        test = evaluate(self.model, self.data.test, **how)
        train = evaluate(self.model, self.data.train, **how) if self.schedule.train_error else None
        return loop.row_of(self.schedule, self.progress, validation, test, train, images_per_second)

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, tensors and plain Python only."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": self.progress.state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.data.train.device.type == "cuda" else None,
        }

    @property
    def each(self) -> list[Progress]:
        return [self.progress]

    def weights(self) -> list[dict[str, Tensor]]:
        """The weights of the one network, on the CPU."""
        return [{name: tensor.cpu() for name, tensor in self.model.state_dict().items()}]

    def load(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from what `state` gave, alone in its list; raises RuntimeError, ValueError or KeyError where it belongs to another model."""
        [state] = states
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        lay_out_as_parameters(self.optimizer)
        self.progress = Progress.from_state(state["progress"])
        if self.group.size > 1:
            self.reseed()
            return
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and len(state["random_cuda"]):  # an earlier version left an empty list
            torch.cuda.set_rng_state(state["random_cuda"])


def lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Bring what an optimizer holds of a parameter into the parameter's order in memory (channels last, say).

    A fused kernel goes through both as they lie there, and what a stack has left lies in another order than a network's own.
    """
    for parameter, held in optimizer.state.items():
        for key, value in held.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                held[key] = torch.empty_like(parameter).copy_(value)


def make_optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """The schedule's optimizer; weight decay on weights and biases of prunable layers, none on batch-norm, as in the released code."""
    decayed = list(prunable_parameters(model).values())
    others = [p for p in model.parameters() if not any(p is q for q in decayed)]
    return optimizer_of(decayed, others, schedule)


def optimizer_of(decayed: Sequence[Tensor], others: Sequence[Tensor], schedule: Schedule) -> torch.optim.Optimizer:
    """SGD or Adam for parameters with weight decay and others without; Adam's other constants are those of Kingma & Ba (2015)."""
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    if schedule.optimizer == "adam":
        return torch.optim.Adam(groups, lr=schedule.learning_rate, fused=True)
    rates = {"lr": schedule.learning_rate, "momentum": schedule.momentum, "nesterov": schedule.nesterov}
    return torch.optim.SGD(groups, **rates, fused=True)
