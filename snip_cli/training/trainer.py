"""One network in training: how it is applied, its optimizer, and its steps beside a pruner."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from snip_cli.config.sections import Schedule
from snip_cli.data.draws import Draw
from snip_cli.data.splits import Data, Split
from snip_cli.models.building import State
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.pruner import FixedMask, Pruner
from snip_cli.runtime.processes import SINGLE_PROCESS, ProcessGroup
from snip_cli.runtime.streams import generator
from snip_cli.training.evaluation import evaluate
from snip_cli.training.losses import training_losses
from snip_cli.training.stepped import SteppedTraining

log = logging.getLogger("snip_cli")

Network = Callable[[Tensor], Tensor]


class Forward:
    """Images B×C×H×W → outputs B×classes, float32 or float64; `training` is the same arithmetic in the form that trains fastest.

    The network itself is not changed: its weights, names and mode are the module's own.

    Args:
        pruner: decides on the weights that are applied, if it is no `FixedMask`. Its networks are neither compiled nor distributed:
            `average_gradients` does the latter.
        network: does what the model does, in a faster form; then nothing is compiled or distributed either.
    """

    def __init__(
        self,
        model: nn.Module,
        group: ProcessGroup = SINGLE_PROCESS,
        *,
        pruner: Pruner | None = None,
        bfloat16: bool = False,
        compiled: bool = False,
        sync_batchnorm: bool = False,
        network: Network | None = None,
    ) -> None:
        self.pruner = None if isinstance(pruner, FixedMask) else pruner
        self.model, self.bfloat16 = model, bfloat16
        self.device = next(model.parameters()).device
        if sync_batchnorm:
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self._inference: Network = network or self.model
        self._training = self._inference
        if self.pruner is not None or network is not None:
            return
        if group.size > 1:
            self._training = distributed(self.model)
        # Compiling would take a recurrent layer apart, which is one fused kernel.
        if compiled and not any(isinstance(module, nn.RNNBase) for module in model.modules()):
            self._training = compiled_if_possible(self._training)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the outputs for a batch of any size."""
        return self._in_precision(self._inference, images)

    def training(self, images: Tensor) -> Tensor:
        """Return the outputs for a training batch."""
        return self._in_precision(self._training, images)

    def _in_precision(self, network: Network, images: Tensor) -> Tensor:
        if not self.bfloat16:
            return self._apply(network, images)
        with torch.autocast(self.device.type, torch.bfloat16):
            return self._apply(network, images).float()

    def _apply(self, network: Network, images: Tensor) -> Tensor:
        weights = self.pruner.weights() if self.pruner is not None else None
        return network(images) if weights is None else functional_call(self.model, weights, (images,))


def distributed(model: nn.Module) -> nn.Module:
    """Return the network over all processes: each backward pass ends with the mean of their gradients."""
    device = next(model.parameters()).device
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def compiled_if_possible(network: Network) -> Network:
    """Return the network, compiled at its first call; if that fails, warn once and leave the network as it is."""
    compiled = torch.compile(network)
    chosen: list[Network] = []

    def call(images: Tensor) -> Tensor:
        if chosen:
            return chosen[0](images)
        try:
            outputs = compiled(images)
        except Exception as error:  # no compiler, an operation that it does not support, and much else
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            log.warning("torch.compile does not work here (%s: %s): goes on without", type(error).__name__, reason)
            chosen.append(network)
            return network(images)
        chosen.append(compiled)
        return outputs

    return call


class Trainer(SteppedTraining):
    """A network in training beside its pruner; its state can be taken (`states`) and set (`load`) between two iterations."""

    def __init__(
        self,
        model: nn.Module,
        pruner: Pruner,
        data: Data,
        schedule: Schedule,
        seed: int,
        *,
        forward: Forward | None = None,
        group: ProcessGroup = SINGLE_PROCESS,
        engine: str = "masked",
    ) -> None:
        super().__init__(data, schedule, [seed], group)
        self.engine = engine
        self.model, self.pruner, self.seed = model, pruner, seed
        self.forward = forward or Forward(model, group, pruner=pruner)
        self.optimizer = make_optimizer(model, schedule)
        for own in pruner.parameter_groups():
            if "lr" in own:
                self.constant_rates |= {len(self.optimizer.param_groups)}
            self.optimizer.add_param_group(own)
        self._before_finish: dict[str, float] = {}
        self._averages = group.size > 1 and not isinstance(pruner, FixedMask)
        self.reseed()
        model.train()
        pruner.use_optimizer(self.optimizer)

    def update(self, images: Tensor, labels: Tensor) -> Tensor:
        """Forward, backward, optimizer, pruner; returns the cross-entropy, without label smoothing and the pruner's penalty."""
        loss, reported = training_losses(self.forward.training(images), labels, self.schedule.label_smoothing)
        penalty = self.pruner.penalty()
        self.optimizer.zero_grad(set_to_none=True)
        (loss if penalty is None else loss + penalty).backward()
        if self._averages:
            average_gradients(self.optimizer, self.group)
        self.optimizer.step()
        self.pruner.after_step(self.iteration + 1)
        return reported

    def join(self, parts: Sequence[Draw]) -> Draw:
        """Return this process's share of the batch."""
        return parts[0].share(self.group.rank, self.group.size)

    def evaluate(self, split: Split) -> list[tuple[float, float]]:
        return [evaluate(self.model, split, forward=self.forward, group=self.group)]

    def finite_weights(self) -> list[bool]:
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        return [all(bool(torch.isfinite(parameter).all()) for parameter in trained)]

    def finish(self) -> None:
        """Let the pruner put its final weights into the network, which is evaluated as it is from here on."""
        if self.pruner.changes_at_finish:
            for name, split in (("val", self.data.validation), ("test", self.data.test)):
                [(error, _)] = self.evaluate(split)
                self._before_finish[f"{name}_error_before_finish"] = error
        self.pruner.finish()
        self.forward.pruner = None

    def facts(self) -> list[dict[str, Any]]:
        return [self._before_finish | self.pruner.facts()]

    def after_checkpoint(self) -> None:
        if self.group.size > 1:
            self.reseed()

    def reseed(self) -> None:
        """Seed what a network draws while it trains, as dropout does, by seed, process and iteration.

        The checkpoint of a single process holds the state of its generator; several processes start new ones at every checkpoint.
        """
        number = self.iteration * self.group.size + self.group.rank
        torch.manual_seed(generator(self.seed, "training", number).initial_seed())

    def weights(self) -> list[State]:
        return [{name: tensor.cpu() for name, tensor in self.model.state_dict().items()}]

    def masks(self) -> list[Mask]:
        return [{name: keep.cpu() for name, keep in self.pruner.mask.items()}]

    def states(self) -> dict[int, dict[str, Any]]:
        state = {
            "engine": self.engine,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": self.progress[0].state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.data.train.device.type == "cuda" else None,
            "pruner": self.pruner.state(),
        }
        return {self.seed: state}

    def load(self, states: Sequence[Mapping[str, Any]]) -> None:
        [state] = states
        self.model.load_state_dict(state["model"])
        self.pruner.load(state.get("pruner", {}))  # earlier versions, and stacks, have no pruner but a fixed mask
        self.optimizer.load_state_dict(state["optimizer"])
        lay_out_as_parameters(self.optimizer)
        self.resume([state["progress"]])
        if self.group.size > 1:
            self.reseed()
            return
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and len(state["random_cuda"]):  # an earlier version left an empty list
            torch.cuda.set_rng_state(state["random_cuda"])


def average_gradients(optimizer: torch.optim.Optimizer, group: ProcessGroup) -> None:
    """Replace the gradient of everything that is trained by its mean over the processes."""
    for parameters in optimizer.param_groups:
        for parameter in parameters["params"]:
            if parameter.grad is not None:
                group.all_reduce(parameter.grad).div_(group.size)


def lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Bring what an optimizer holds of a parameter into the parameter's memory format (channels last, for example).

    A fused kernel reads both in the order of their memory, and the state that a stack leaves has another order than a network's own.
    """
    for parameter, held in optimizer.state.items():
        for key, value in held.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                held[key] = torch.empty_like(parameter).copy_(value)


def make_optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Return the schedule's optimizer; prunable weights and biases decay, batch-norm does not, as in the released code."""
    decayed = list(prunable_parameters(model).values())
    others = [p for p in model.parameters() if not any(p is q for q in decayed)]
    return optimizer_for(decayed, others, schedule)


def optimizer_for(decayed: Sequence[Tensor], others: Sequence[Tensor], schedule: Schedule) -> torch.optim.Optimizer:
    """Return SGD or Adam for parameters with weight decay and others without; Adam has the constants of Kingma & Ba (2015)."""
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": schedule.weight_decay}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    rate = schedule.learning_rate
    if schedule.optimizer == "adam":
        return torch.optim.Adam(groups, lr=rate, fused=True)
    momentum, nesterov = schedule.momentum, schedule.nesterov
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=nesterov, fused=True)
