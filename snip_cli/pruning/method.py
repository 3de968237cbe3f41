"""The protocol of pruning methods: what a method declares, what it receives and what it returns.

A method is one function in one file, registered with what the pipeline needs to know of it:

    @register("name", stage=Stage.AT_INIT, options=NameOptions)
    def name(model, batches, loss, generator, options) -> dict[str, Tensor]: ...

Options are the fields of a frozen dataclass, and the method's YAML repeats their defaults:

    from snip_cli.pruning.options import option

    @dataclass(frozen=True)
    class NameOptions:
        images: int = option(100, "how many images are summed", at_least=1)

`gives` says which function the pipeline calls:

    SCORES   (model, batches, loss, generator, options) -> one score per entry of every prunable parameter; larger = keep
    MASK     (model, batches, loss, request, options) -> Pruned
    PRUNER   (model, plan, options) -> Pruner (pruner.py), which changes the mask while the network trains

A scoring method never selects the mask: the pipeline keeps the κ largest scores. SCORES and MASK functions leave the model unchanged, and
one that has better weights for the network that is left returns them in `Pruned.weights`; a pruner changes the model.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from snip_cli import registry
from snip_cli.config.sections import Schedule
from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.pruning.mask import Mask
from snip_cli.pruning.options import TYPE_NAMES, NoOptions, read_options
from snip_cli.runfolder.steps import NO_STEPS, Steps

Function = TypeVar("Function", bound=Callable[..., Any])

# (outputs, labels) → scalar, the mean over the batch.
Loss = Callable[[Tensor, Tensor], Tensor]
Scores = dict[str, Tensor]
# In [0, 1), or `auto`.
Sparsity = float | str


class Stage(Enum):
    """When a method prunes."""

    AT_INIT = "at_init"
    AFTER_TRAINING = "after_training"
    DURING_TRAINING = "during_training"


class Start(Enum):
    """The weights that a method starts from: freshly drawn ones, or those of the trained reference."""

    DRAWN = "drawn"
    TRAINED = "trained"


class Gives(Enum):
    """What a method's function returns."""

    SCORES = "scores"
    MASK = "mask"
    PRUNER = "pruner"


# What the functions are called with.
FORMS = {
    Gives.SCORES: ("model", "batches", "loss", "generator", "options"),
    Gives.MASK: ("model", "batches", "loss", "request", "options"),
    Gives.PRUNER: ("model", "plan", "options"),
}


class Biases(Enum):
    """How a method treats biases, which count among the m prunable parameters."""

    SCORED = "scored"  # like weights
    KEPT = "kept"  # never removed, so that κ must be at least their number
    GROUPED = "grouped"  # removed with the unit or filter that they belong to


@dataclass(frozen=True)
class Pruned:
    """A mask and what its method reports.

    Attributes:
        layers, facts: plain Python per layer (by the layer's name) and of the whole network, for `pruning.json`.
        weights: by parameter name, new values that training starts from; a parameter that is not there keeps its value. They belong to
            this mask: an ablation that changes the mask or draws the weights anew starts without them.
        prunings: how many times the method has removed parameters to get here.
    """

    mask: Mask
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    prunings: int = 1


@dataclass(frozen=True)
class Request:
    """What a method that chooses the mask itself is asked for.

    previous: the mask of the round before; None unless the method prunes in rounds and this is not the first.
    """

    sparsity: Sparsity
    generator: torch.Generator
    steps: Steps = NO_STEPS
    previous: Mask | None = None


@runtime_checkable
class Narrowable(Protocol):
    """Batches that can be restricted to the first classes without reading the images of others."""

    def of_first_classes(self, classes: int) -> Iterable[Batch]: ...


@dataclass(frozen=True)
class Method:
    """A registered method, with all that the pipeline knows of it.

    Attributes:
        name: as in `method=NAME`.
        function: see the module's docstring.
        stage: when it prunes; its file lies in the folder of that name.
        starts_from: the weights that it prunes; `method.trained` in its YAML says the same.
        gives: what its function returns.
        options: a frozen dataclass whose fields are made with `options.option`; the YAML holds the same defaults.
        check: called before any work with the model and one example image, both on the meta device, and the options; raises ConfigError.
        check_schedule: called before any work with the training schedule and the options; raises ConfigError.
        finds_sparsity: whether `sparsity=auto` is possible.
        biases: how it treats biases.
        redraw: whether freshly drawn weights are trained instead of the ones that were scored; its YAML says the same.
        rounds: for a method that prunes in rounds, (model on the meta device, sparsity, options) → the sparsities of the rounds before the
            last, rising; each round is a run of its own.
        rewind: for such a method, options → the iteration of the reference whose weights training restarts from; None trains on.
        retrain_rate: options → the learning rate of the training after pruning, as a multiple of the schedule's; None for the schedule's.
    """

    name: str
    function: Callable[..., Any]
    stage: Stage = Stage.AT_INIT
    starts_from: Start = Start.DRAWN
    gives: Gives = Gives.SCORES
    options: type = NoOptions
    check: Callable[[nn.Module, Tensor, Any], None] | None = None
    check_schedule: Callable[[Schedule, Any], None] | None = None
    finds_sparsity: bool = False
    biases: Biases = Biases.SCORED
    redraw: bool = True
    rounds: Callable[[nn.Module, float, Any], list[float]] | None = None
    rewind: Callable[[Any], int] | None = None
    retrain_rate: Callable[[Any], float] | None = None

    @property
    def hyperparameters(self) -> list[str]:
        """The names of the options that a plain run depends on."""
        return [spec.name for spec in fields(self.options) if spec.metadata.get("hyperparameter", True)]

    def without_late_options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return options as in a YAML, those that no kept step depends on at their defaults."""
        late = {spec.name: spec.default for spec in fields(self.options) if not spec.metadata.get("in_steps", True)}
        return {name: late.get(name, value) for name, value in values.items()}

    @property
    def keeps_exactly(self) -> bool:
        """Whether it keeps exactly κ parameters; methods that remove whole groups keep at least as many."""
        return self.gives is Gives.PRUNER or not (self.finds_sparsity or self.biases is Biases.GROUPED)

    def read_options(self, values: Mapping[str, Any]) -> Any:
        """Return the method's options; raises ConfigError for an unknown one, a wrong type or a value out of range."""
        return read_options(self.options, values, method=self.name)


def register(name: str, **declared: Any) -> Callable[[Function], Function]:
    """Decorator that registers a function as the method `name`; `declared` are the fields of `Method` other than name and function."""

    def add(function: Function) -> Function:
        method = Method(name, function, **declared)
        registry.require_form("method", name, function, FORMS[method.gives])
        registry.methods.register(name)(_Registered(method))
        return function

    return add


class _Registered:
    """What the registry holds of a method: looks like its function, so that two definitions of one name are told apart."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.__module__, self.__qualname__ = method.function.__module__, method.function.__qualname__

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.method.function(*arguments, **named)


def find_method(name: str) -> Method:
    """Return the method called `name`.

    A plain function that was registered with `registry.methods.register(name)` scores at initialisation: see `_plain`.

    Raises:
        ConfigError: there is no such method, or it is a plain function that chooses the mask itself.
    """
    found = registry.methods[name]
    return found.method if isinstance(found, _Registered) else _plain(name, found)


def methods_that_find_sparsity() -> list[str]:
    """Return the names of the methods that take `sparsity=auto`."""
    found = ((name, registry.methods[name]) for name in registry.methods.names())
    return [name for name, each in found if isinstance(each, _Registered) and each.method.finds_sparsity]


# The value of an option that is not given, so that the function's own default counts.
_NOT_GIVEN = object()


def _plain(name: str, function: Callable[..., Any]) -> Method:
    """Return the method of a function of the form (model, batches, loss, generator, *, options) → scores.

    Its options are the keyword-only parameters. Their values are checked only if the annotation is bool, int, float or str. An attribute
    `check` of the function, of the form (model, example, **options), is called before any work.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(p.name == "steps" and p.kind is not inspect.Parameter.KEYWORD_ONLY for p in parameters):
        raise ConfigError(
            f"method '{name}' takes sparsity and steps as parameters, as an earlier version asked for: write it as {name}(model, batches, loss, request, options), read request.sparsity, request.steps and request.generator, and register it with @register('{name}', gives=Gives.MASK) from snip_cli.pruning.method."
        )
    specs = [
        (
            p.name,
            next((kind for kind in TYPE_NAMES if p.annotation is kind), Any),
            field() if p.default is p.empty else field(default=_NOT_GIVEN),
        )
        for p in parameters
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    registry.require_form("method", name, function, FORMS[Gives.SCORES][:-1], [option for option, *_ in specs])
    schema = make_dataclass("Options", specs, frozen=True, kw_only=True)
    own_check: Callable[..., None] | None = getattr(function, "check", None)

    def given(options: Any) -> dict[str, Any]:
        return {key: value for key, value in vars(options).items() if value is not _NOT_GIVEN}

    def scores(model: nn.Module, batches: Any, loss: Loss, generator: torch.Generator, options: Any) -> Scores:
        return function(model, batches, loss, generator, **given(options))

    def check(model: nn.Module, example: Tensor, options: Any) -> None:
        if own_check is not None:
            own_check(model, example, **given(options))

    return Method(name, scores, options=schema, check=check)
