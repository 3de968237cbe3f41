"""What a batch of anybody's network is, and how the network is called with it.

A batch is (inputs, labels). `inputs` is what the model is called with: a tensor, a tuple of positional arguments, or a dictionary of named
ones. `labels` is given to the loss as it is. Several batches are a list of these, or any other iterable such as a DataLoader.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError, SnipError
from snip_cli.pruning.conditions import is_low_precision

Inputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
# What `prune` accepts; `Batch` is the usual kind.
AnyBatch = tuple[Inputs, Any]

HOW = "give (inputs, labels), where inputs is a tensor, a tuple of tensors or a dictionary of named ones that the model is called with, or a list of such batches"


class Batches:
    """The batches of an iterable that may be long: each is checked when it is read.

    Attributes:
        first: the first batch; None before it is read.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        self.source = source
        self.first: Batch | None = None

    def __iter__(self) -> Iterator[Batch]:
        empty = True
        for entry in self.source:
            batch = _checked(entry)
            self.first = self.first or batch
            yield batch
            empty = False
        if empty:
            raise ConfigError(f"There is no batch to score with: {HOW}.")


def read_batches(given: object) -> Iterable[Batch]:
    """Return the batches in what `prune` was given; numbers of fewer than 32 bits become float32, as in the model.

    Raises:
        ConfigError: it is neither a batch nor a list of batches, or could be both.
    """
    if isinstance(given, tuple) and len(given) == 2 and all(map(_is_pair, given)):
        raise ConfigError(
            "The batch can be read as two batches, or as one with two inputs and two labels: write [first, second] for two batches, or [((a, b), labels)] for one."
        )
    if _is_single(given):
        return [_checked(given)]
    if isinstance(given, tuple | list | Iterator):  # an iterator can be read only once, and methods may read twice
        return list(Batches(given))
    if isinstance(given, Tensor | Mapping | str) or not isinstance(given, Iterable):
        raise _refusal(given)
    return Batches(given)


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and _is_inputs(value[0])


def _is_single(given: object) -> bool:
    """Return whether this is one batch. A DataLoader gives a batch as a list, also of several inputs."""
    if not isinstance(given, tuple | list) or not _is_pair(given):
        return False
    return not (isinstance(given[0], tuple | list) and isinstance(given[1], tuple | list))


def _is_inputs(value: object) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(name, str) for name in value)
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(isinstance(v, Tensor) for v in value))


def _checked(entry: object) -> Batch:
    if not _is_pair(entry):
        raise _refusal(entry)
    # The methods' type of a batch is the usual one, of a tensor of inputs.
    inputs, labels = (map_tensors(lambda t: t.float() if is_low_precision(t) else t, part) for part in entry)  # type: ignore[attr-defined]
    return inputs, labels


def _refusal(given: object) -> ConfigError:
    return ConfigError(f"A batch cannot be {describe(given)}: {HOW}.")


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return `value` with `function` applied to the tensors in its tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: map_tensors(function, each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        mapped = [map_tensors(function, each) for each in value]
        return type(value)(*mapped) if hasattr(value, "_fields") else type(value)(mapped)
    return value


def describe(value: object) -> str:
    """Describe a value in a few words, such as `a tensor of shape (16, 8), float32 on cpu`."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')} on {value.device}"
    if isinstance(value, Mapping):
        return f"a dictionary of {', '.join(f'{name}: {describe(each)}' for name, each in value.items()) or 'nothing'}"
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return f"a {kind} of {'; '.join(map(describe, value[:3])) or 'nothing'}{'; …' * (len(value) > 3)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def call_model(model: nn.Module, inputs: Inputs) -> Any:
    """Return the model's outputs for a batch's inputs, which stay as they are even if the model works in place.

    Raises:
        ConfigError: the model does not take these inputs.
    """
    own = map_tensors(lambda tensor: tensor.detach().clone(), inputs)
    how = "give what model(...) is called with, on the model's device and of its type"
    with _explained(f"The model does not take inputs that are {describe(inputs)}", how):
        if isinstance(own, Mapping):
            return model(**own)
        return model(*own) if isinstance(own, tuple | list) else model(own)


def call_loss(loss: Callable[[Any, Any], Any], outputs: Any, labels: Any) -> Tensor:
    """Return loss(outputs, labels), a single number to differentiate.

    Raises:
        ConfigError: the loss does not take these, or gives something else.
    """
    how = "it is called as loss(outputs, labels)"
    with _explained(
        f"The loss does not take outputs that are {describe(outputs)} and labels that are {describe(labels)}", how
    ):
        # Autograd keeps no tensor that was made under torch.inference_mode().
        own = map_tensors(lambda tensor: tensor.clone() if tensor.is_inference() else tensor, labels)
        value: object = loss(outputs, own)
    if not isinstance(value, Tensor):
        raise ConfigError(
            f"The loss must return a tensor of one number: got {value!r}, without a gradient. Return what torch.nn.functional.cross_entropy(outputs, labels) returns, for example."
        )
    if value.numel() != 1:
        raise ConfigError(
            f"The loss must return one number: got {describe(value)}. Take its mean, for example with reduction='mean'."
        )
    if not value.requires_grad:
        raise ConfigError(
            "The loss has no gradient: it does not depend on a parameter that is trained. Compute it from the outputs without detach(), item() or NumPy, and the outputs without torch.no_grad()."
        )
    return value


@contextmanager
def _explained(problem: str, remedy: str) -> Iterator[None]:
    """Raise ConfigError, in one sentence, where torch raises an error about shapes, types, devices or arguments."""
    try:
        yield
    except (SnipError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if "can't allocate memory" in str(error):  # the CPU's allocator raises a plain RuntimeError
            raise
        raise ConfigError(f"{problem}: {' '.join(str(error).split())}; {remedy}.") from error
