"""The training loop: one masked network, one schedule, from any iteration on."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.data.splits import Batch, Data, draws
from snip_cli.errors import RunError
from snip_cli.group import ALONE, Group
from snip_cli.pruning.mask import Mask, apply_mask, prunable_parameters
from snip_cli.sections import Schedule
from snip_cli.streams import generator
from snip_cli.training.evaluation import evaluate
from snip_cli.training.forward import Forward
from snip_cli.training.progress import Clock, Progress, progress_bar


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
        group: Group = ALONE,
    ) -> None:
        self.model, self.data, self.schedule, self.seed = model, data, schedule, seed
        self.forward, self.group = forward or Forward(model), group
        self.optimizer = make_optimizer(model, schedule)
        self.progress = Progress()
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
        evaluated: Callable[[dict[str, float]], None],
        checkpoint: Callable[[dict[str, Any]], None],
        bar: bool = False,
    ) -> None:
        """Train to the schedule's end; `evaluated` gets each evaluation's row, `checkpoint` the state to be kept.

        Nothing waits for the device between two evaluations.

        Raises RunError where the loss is not finite; what `checkpoint` got before is from before that.
        """
        schedule, progress = self.schedule, self.progress
        batches = self.batches()
        clock = Clock(progress)
        fresh: list[Tensor] = []
        self.model.train()
        if schedule.iterations == 0:
            progress.evaluations = [self.evaluation(0.0)]
            evaluated(progress.evaluations[0])
        with progress_bar(schedule.iterations, progress.iteration, f"seed {self.seed}", shown=bar) as meter:
            for done in range(progress.iteration + 1, schedule.iterations + 1):
                self.set_learning_rate(done - 1)
                fresh.append(self.step(*next(batches)))
                meter.update()
                last = done == schedule.iterations
                due = last or done % schedule.evaluate_every == 0
                keep = done % schedule.checkpoint_every == 0 and not last
                if due or keep:
                    progress.losses += self.finite_losses(fresh, done)
                    progress.iteration = done
                    fresh.clear()
                if due:
                    row = self.evaluation(clock.images_per_second(schedule.batch_size))
                    progress.evaluations.append(row)
                    progress.losses.clear()
                    evaluated(row)
                    meter.set_postfix_str(f"test error {row['test_error']:.2f} %")
                    clock.begin_interval()
                if due or keep:
                    progress.seconds = clock.seconds()
                if keep:
                    self.check_weights(done)
                    checkpoint(self.state())
                    if self.group.size > 1:
                        self.reseed()

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

    def finite_losses(self, losses: list[Tensor], done: int) -> list[float]:
        """The losses (mean over the processes) that end at iteration `done` as numbers; raises RunError at the first that is not finite."""
        values = self.group.total(torch.stack(losses)) / self.group.size
        bad = (~torch.isfinite(values)).nonzero()
        if len(bad):
            raise self.not_finite(done - len(losses) + int(bad[0]) + 1)
        return values.tolist()

    def check_weights(self, done: int) -> None:
        """Raise RunError where iteration `done` left a weight that is not finite, so that no checkpoint holds one."""
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters()):
            raise self.not_finite(done)

    def not_finite(self, done: int) -> RunError:
        """The error that says that iteration `done` (counted from 1) met or left a loss that is not finite."""
        return RunError(
            f"The loss is not finite at iteration {done} (learning rate {self.schedule.rate_at(done - 1):g}): "
            "lower schedule.learning_rate or choose another init_train."
        )

    def evaluation(self, images_per_second: float) -> dict[str, float]:
        """One row of metrics.csv, and the rate of images since the last one."""
        how = {"forward": self.forward, "group": self.group}
        val_error, val_loss = evaluate(self.model, self.data.validation, **how)
        test_error, test_loss = evaluate(self.model, self.data.test, **how)
        if not (math.isfinite(val_loss) and math.isfinite(test_loss)):  # the last step may have ruined the weights
            raise self.not_finite(self.progress.iteration)
        losses = self.progress.losses
        return {
            "iteration": self.progress.iteration,
            "learning_rate": self.schedule.rate_at(self.progress.iteration - 1) if losses else 0.0,
            "train_loss": sum(losses) / len(losses) if losses else math.nan,  # of a schedule of no iterations
            "val_loss": val_loss,
            "val_error": val_error,
            "test_loss": test_loss,
            "test_error": test_error,
            "images_per_second": images_per_second,
        }

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, tensors and plain Python only."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.data.train.device.type == "cuda" else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; raises RuntimeError, ValueError or KeyError where it belongs to another model."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        if self.group.size > 1:
            self.reseed()
            return
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and len(state["random_cuda"]):  # an earlier version left an empty list
            torch.cuda.set_rng_state(state["random_cuda"])


def make_optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """SGD with momentum; weight decay on weights and biases of prunable layers, none on batch-norm, as in the released code."""
    decayed = list(prunable_parameters(model).values())
    others = [p for p in model.parameters() if not any(p is q for q in decayed)]
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    rates = {"lr": schedule.learning_rate, "momentum": schedule.momentum, "nesterov": schedule.nesterov}
    return torch.optim.SGD(groups, **rates, fused=True)
