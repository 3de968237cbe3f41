"""Replicates of one network trained as one: each with its own mask, weights, batches and, in the end, record.

R: replicates, B: images of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.data.splits import Batch, Data, Draw, draws
from snip_cli.pruning.mask import Mask
from snip_cli.runfolder.results import Evaluation
from snip_cli.runtime.streams import generator
from snip_cli.training import loop
from snip_cli.training.evaluation import evaluate_stack
from snip_cli.training.progress import Progress
from snip_cli.training.stacked.form import Form
from snip_cli.training.stacked.optimizer import set_moments, single_states
from snip_cli.training.stacked.stack import Stack
from snip_cli.training.trainer import optimizer_of


class StackedTrainer:
    """Networks of one form in training, one a seed, or one alone without its dead units; the states are those of `Trainer`."""

    def __init__(
        self,
        form: Form,
        models: Sequence[nn.Module],
        masks: Sequence[Mask],
        data: Data,
        schedule: Schedule,
        seeds: Sequence[int],
    ) -> None:
        self.models, self.data, self.schedule, self.seeds = models, data, schedule, list(seeds)
        self.stack = Stack(form, models, masks)
        self.optimizer = optimizer_of(self.stack.parameters, [], schedule)
        self.progress = Progress()
        self.each = [Progress() for _ in seeds]
        self.failed: dict[int, loop.DivergedError] = {}

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One iteration of all on R·B images, one replicate's after the other's; gives the R losses, still on the device."""
        losses_R = self.stack.differentiate(*(part.unflatten(0, (len(self.seeds), -1)) for part in (images, labels)))
        self.optimizer.step()
        self.stack.apply_masks()
        return losses_R

    def train(
        self,
        *,
        evaluated: Callable[[int, Evaluation], None],
        checkpoint: Callable[[dict[int, dict[str, Any]]], None],
        bar: bool = False,
    ) -> None:
        """Train to the schedule's end; `evaluated` gets each seed's rows, `checkpoint` the states to be kept, by seed.

        A seed whose loss is not finite is told of no more, and has its error in `failed`. Raises DivergedError where none is left.
        """

        def evaluate(images_per_second: float) -> float:
            rows = self.evaluations(images_per_second)
            for number, row in rows.items():
                self.each[number].evaluations.append(row)
                self.each[number].losses.clear()
                evaluated(self.seeds[number], row)
            return sum(row.test_error for row in rows.values()) / len(rows)

        def keep() -> None:
            self.check_weights()
            checkpoint(self.states())

        name = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds"
        loop.train(self, name, evaluate=evaluate, keep=keep, bar=bar)
        self.share_progress()

    def batches(self) -> Iterator[Batch]:
        """The batches of all replicates, R·B images, from the next iteration on, for ever."""
        train, schedule = self.data.train, self.schedule
        how = {"start": self.progress.iteration, "iterations": schedule.iterations, "device": train.rows_device}
        drawn = [draws(len(train), schedule.batch_size, seed, **how) for seed in self.seeds]
        return train.drawn(side_by_side(parts) for parts in zip(*drawn, strict=True))

    def set_learning_rate(self, iteration: int) -> None:
        """Set the rate of the iteration that comes next (counted from 0)."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(iteration)

    def take_losses(self, losses: list[Tensor], done: int) -> None:
        """Keep every replicate's losses that end at iteration `done`; one that is not finite has failed."""
        values_RI = torch.stack(losses, dim=1).cpu()
        for number in self.going():
            bad = (~torch.isfinite(values_RI[number])).nonzero()
            if len(bad):
                self.fail(number, loop.not_finite(self.schedule, done - len(losses) + int(bad[0]) + 1))
            else:
                self.each[number].losses += values_RI[number].tolist()

    def check_weights(self) -> None:
        """Let fail what has a weight that is not finite, so that no checkpoint holds one."""
        finite_R = torch.stack([weight.flatten(1).isfinite().all(dim=1) for weight in self.stack.blocks]).all(dim=0)
        for number in self.going():
            if not finite_R[number]:
                self.fail(number, loop.not_finite(self.schedule, self.progress.iteration))

    def going(self) -> list[int]:
        """The places of the replicates that have not failed."""
        return [number for number, seed in enumerate(self.seeds) if seed not in self.failed]

    def fail(self, number: int, error: loop.DivergedError) -> None:
        """Note that a replicate has failed; raises its error where it was the last."""
        seed = self.seeds[number]
        self.failed[seed] = error
        if not self.going():
            raise self.failed[self.seeds[0]]
        loop.warn_of_divergence(seed, error, others=True)

    def evaluations(self, images_per_second: float) -> dict[int, Evaluation]:
        """One row of metrics.csv for each replicate, by its place, and the rate of its images in its share of the time since the last ones.

        `images_per_second` are those of one replicate in all of that time.
        """
        validation, test = (evaluate_stack(self.stack, split) for split in (self.data.validation, self.data.test))
        train = evaluate_stack(self.stack, self.data.train) if self.schedule.train_error else None
        rows = {}
        for number in self.going():
            progress = self.each[number]
            progress.iteration = self.progress.iteration
            try:
                errors = validation[number], test[number], train[number] if train else None
                rows[number] = loop.row_of(self.schedule, progress, *errors, images_per_second * len(self.each))
            except loop.DivergedError as error:
                self.fail(number, error)
        return rows

    def share_progress(self) -> None:
        """Give every replicate the iteration, and its share of the seconds."""
        for progress in self.each:
            progress.iteration, progress.seconds = self.progress.iteration, self.progress.seconds / len(self.each)

    def weights(self) -> list[dict[str, Tensor]]:
        """The whole weights of every replicate, as `state_dict` of its network has them."""
        for model, weights in zip(self.models, self.stack.put(self.stack.parameters), strict=True):
            model.load_state_dict(weights)
        return [{name: tensor.cpu() for name, tensor in model.state_dict().items()} for model in self.models]

    def states(self) -> dict[int, dict[str, Any]]:
        """By seed all that is needed to go on, together or apart, of those that have not failed."""
        self.share_progress()
        weights, optimizers = self.weights(), single_states(self.stack, self.optimizer)
        return {
            self.seeds[number]: {
                "model": weights[number],
                "optimizer": optimizers[number],
                "progress": self.each[number].state(),
                # A stack's forward pass draws nothing.
                "random": generator(self.seeds[number], "training").get_state(),
                "random_cuda": None,
            }
            for number in self.going()
        }

    def load(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from the states of all seeds, at one iteration; raises RuntimeError, ValueError or KeyError where they belong to others."""
        for model, state in zip(self.models, states, strict=True):
            model.load_state_dict(state["model"])
        self.stack.set(self.stack.take([model.state_dict() for model in self.models]))
        set_moments(self.stack, self.optimizer, [state["optimizer"]["state"] for state in states])
        self.each = [Progress.from_state(state["progress"]) for state in states]
        [iteration] = {progress.iteration for progress in self.each}
        self.progress = Progress(iteration, sum(progress.seconds for progress in self.each))


def side_by_side(parts: Sequence[Draw]) -> Draw:
    """The replicates' draws of one iteration as one, in their order."""
    return Draw(
        torch.cat([part.rows for part in parts]), torch.cat([part.numbers for part in parts]), parts[0].progress
    )
