"""How a network is applied in training: plain, in bfloat16, compiled, and over several processes."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from snip_cli.runtime.processes import SINGLE_PROCESS, ProcessGroup

log = logging.getLogger("snip_cli")


class Forward:
    """Images B×C×H×W → outputs B×classes, float32 or float64; `training` is the same arithmetic in the form that trains fastest.

    The network itself stays as it is: weights, names and mode are the module's own.
    """

    def __init__(
        self,
        model: nn.Module,
        group: ProcessGroup = SINGLE_PROCESS,
        *,
        bfloat16: bool = False,
        compiled: bool = False,
        sync_batchnorm: bool = False,
    ) -> None:
        self.model, self.bfloat16 = model, bfloat16
        parameter = next(model.parameters())
        self.device = parameter.device
        self._training: Callable[[Tensor], Tensor] = model
        if group.size > 1:
            self._training = distributed(model, sync_batchnorm=sync_batchnorm)
        # A compiler would take a recurrent layer apart, which is one fused kernel.
        if compiled and not any(isinstance(module, nn.RNNBase) for module in model.modules()):
            self._training = compiled_or_not(self._training)

    def __call__(self, images: Tensor) -> Tensor:
        """The outputs for a batch of any size."""
        return self._in_precision(self.model, images)

    def training(self, images: Tensor) -> Tensor:
        """The outputs for a training batch."""
        return self._in_precision(self._training, images)

    def _in_precision(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        if not self.bfloat16:
            return network(images)
        with torch.autocast(self.device.type, torch.bfloat16):
            return network(images).float()


def distributed(model: nn.Module, *, sync_batchnorm: bool) -> nn.Module:
    """The network over the processes of the group: every backward pass ends with the mean of their gradients."""
    device = next(model.parameters()).device
    if sync_batchnorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def compiled_or_not(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network compiled at its first call; where this machine cannot, one line says so and it stays as it is."""
    compiled = torch.compile(network)
    chosen: list[Callable[[Tensor], Tensor]] = []

    def call(images: Tensor) -> Tensor:
        if chosen:
            return chosen[0](images)
        try:
            outputs = compiled(images)
        except Exception as error:  # a missing compiler, an operation that it does not know, and much else
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            log.warning("torch.compile does not work here (%s: %s): goes on without", type(error).__name__, reason)
            chosen.append(network)
            return network(images)
        chosen.append(compiled)
        return outputs

    return call
