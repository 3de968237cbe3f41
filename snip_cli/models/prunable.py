"""Which parameters of a network can be pruned, and which convolutions are depthwise."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import TypeGuard

from torch import nn
from torch.nn.parameter import is_lazy

from snip_cli.errors import ConfigError
from snip_cli.models.effective import require_parameters
from snip_cli.registry import nearest

PRUNABLE_LAYERS = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.Bilinear,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
)
# The projections of an attention layer are linear layers. Its bias_k and bias_v are further keys and values.
PROJECTIONS = ["in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias"]
# Parameters that a sentence names at most.
LISTED = 3

# The names that take the place of the rule within `choose_prunable`.
_chosen: ContextVar[frozenset[str] | None] = ContextVar("chosen", default=None)


def prunable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights and biases of the convolution, linear, recurrent and attention layers, by name.

    Frozen parameters (`requires_grad=False`) are left out, and a parameter that two layers share appears once. All
    weights come first, then all biases, both in the order of the layers: the released code numbers them so, and of two
    equal scores it keeps the one with the lower number. Within `choose_prunable` the chosen parameters are returned
    instead, in the same order.

    Raises:
        ConfigError: a layer computes its weight from other parameters, or has none yet.
    """
    require_no_lazy_layer(model)
    chosen = _chosen.get()
    seen: dict[nn.Parameter, str] = {}
    for name, parameter in _by_rule(model) if chosen is None else model.named_parameters(remove_duplicate=False):
        if parameter.requires_grad and (chosen is None or name in chosen):
            seen.setdefault(parameter, name)
    by_kind = sorted(seen.items(), key=lambda item: item[0].dim() == 1)
    return {name: parameter for parameter, name in by_kind}


def _by_rule(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for path, layer in model.named_modules():
        if isinstance(layer, PRUNABLE_LAYERS):
            require_parameters(path or type(layer).__name__, layer, weights_and_biases(layer))
            for name, parameter in layer.named_parameters(recurse=False):
                if not isinstance(layer, nn.MultiheadAttention) or name in PROJECTIONS:
                    yield f"{path}.{name}" if path else name, parameter


def weights_and_biases(layer: nn.Module) -> list[str]:
    """Return the names of the weights and biases that a layer of this kind has, whether or not they are parameters."""
    if isinstance(layer, nn.RNNBase):
        return list(layer._flat_weights_names)
    if isinstance(layer, nn.RNNCellBase):
        return ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    return PROJECTIONS if isinstance(layer, nn.MultiheadAttention) else ["weight", "bias"]


def require_no_lazy_layer(model: nn.Module) -> None:
    """Raise ConfigError if a layer does not know the shape of its weights yet."""
    for path, layer in model.named_modules():
        if any(is_lazy(each) for each in (*layer._parameters.values(), *layer._buffers.values())):
            raise ConfigError(
                f"Layer '{path or type(layer).__name__}' is lazy ({type(layer).__name__}) and has no weights yet: run one batch through the model first, as in model(inputs)."
            )


@contextmanager
def choose_prunable(model: nn.Module, patterns: Iterable[str] | None) -> Iterator[None]:
    """Within the block, `prunable_parameters` returns the parameters of these names, whatever layer they belong to.

    Args:
        model: the network.
        patterns: names of parameters, or patterns such as `encoder.*`; None leaves it at the rule.

    Raises:
        ConfigError: no parameter has such a name, or it is one of those that a layer's weight is computed from.
    """
    if patterns is None:
        yield
        return
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    chosen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            raise ConfigError(
                f"prunable names '{pattern}', but the model has no such parameter{nearest(pattern, names)}: give names as in model.named_parameters(), or patterns such as 'encoder.*'."
            )
        chosen.update(found)
    for path, layer in model.named_modules():
        if isinstance(layer, PRUNABLE_LAYERS):
            known = weights_and_biases(layer)
            own = [name for name, _ in layer.named_parameters(recurse=False) if name not in known]
            if any((f"{path}.{name}" if path else name) in chosen for name in own):
                require_parameters(path or type(layer).__name__, layer, known)
    token = _chosen.set(frozenset(chosen))
    try:
        yield
    finally:
        _chosen.reset(token)


def out_of_reach(model: nn.Module) -> str | None:
    """Say how much of the network is never pruned; None if that is nothing but vectors, such as those of batch-norm."""
    pruned = set(prunable_parameters(model).values())
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    others = {name: parameter for name, parameter in trained.items() if parameter not in pruned}
    matrices = sorted(
        (name for name, parameter in others.items() if sum(size > 1 for size in parameter.shape) > 1),
        key=lambda name: -others[name].numel(),
    )
    if not matrices:
        return None
    within = sum(parameter.numel() for parameter in pruned)
    total = sum(parameter.numel() for parameter in trained.values())
    named = ", ".join(f"{name} ({'×'.join(map(str, others[name].shape))})" for name in matrices[:LISTED])
    more = f" and {len(matrices) - LISTED} more" if len(matrices) > LISTED else ""
    return f"{within:,} of {total:,} trainable parameters can be pruned: {named}{more} belong to no convolution, linear, recurrent or attention layer"


def is_depthwise(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether the layer is a convolution whose every output channel reads one input channel of its own."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1
