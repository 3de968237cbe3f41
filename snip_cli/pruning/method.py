"""What a pruning method is: a function, registered by name, of one of two shapes. Both leave the model as it was.

One that scores connections; choosing κ of the scores is not its business:

    @methods.register("name")
    def name(model, batches, loss, generator, *, option: float = 1.0) -> dict[str, Tensor]: ...

It gives one score for every entry of every prunable parameter, by parameter name and in its shape; larger = keep.

One that chooses by itself, because it removes whole filters or groups of connections, or finds out how much can go:

    @methods.register("name")
    def name(model, batches, loss, generator, sparsity, steps, *, option: float = 1.0) -> Pruned: ...

It keeps what took long in `steps`. Where `sparsity` is annotated as `Sparsity` it takes `auto` too.

The keyword-only arguments are the options of the method's YAML. Either may have an attribute `check`, a function of the model and an example
image, both on the meta device, and the options, which raises ConfigError for what cannot be before anything is trained.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from snip_cli.pruning.mask import Mask

Batch = tuple[Tensor, Tensor]
# (outputs, labels) → scalar, the mean over the batch.
Loss = Callable[[Tensor, Tensor], Tensor]
# In [0, 1), or `auto`.
Sparsity = float | str


@runtime_checkable
class Narrowable(Protocol):
    """Batches that can be narrowed to the first classes without reading the images of others, as a class-balanced sample can."""

    def of_first_classes(self, classes: int) -> Iterable[Batch]: ...


@dataclass(frozen=True)
class Pruned:
    """A mask and what its method tells of it, plain Python: per layer a dictionary by the layer's name, and anything of the whole."""

    mask: Mask
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def chooses(method: Callable[..., Any]) -> bool:
    """Whether a method is of the second shape."""
    steps = inspect.signature(method).parameters.get("steps")
    return steps is not None and steps.kind is not inspect.Parameter.KEYWORD_ONLY  # an option may be called so


def takes_auto(method: Callable[..., Any]) -> bool:
    """Whether a method finds out by itself how much can go."""
    sparsity = inspect.signature(method).parameters.get("sparsity")
    return sparsity is not None and sparsity.annotation == Sparsity
