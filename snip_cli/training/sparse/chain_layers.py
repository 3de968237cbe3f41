"""Which networks are chains that the kernels know: convolutions with ReLU and max-pooling, then linear layers with ReLU."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Step:
    """A layer with weights, and what follows it: a max-pooling, a ReLU, both in any order, or nothing."""

    name: str
    layer: nn.Conv2d | nn.Linear
    pool: nn.MaxPool2d | None
    relu: bool


def steps_of(model: nn.Module) -> list[Step] | None:
    """Return a chain's layers in order: convolutions, one `Flatten`, linear layers; None if the model is no such chain.

    ReLU and max-pooling commute, in their gradients too.
    """
    if type(model) is not nn.Sequential:
        return None
    steps: list[Step] = []
    flat = False
    for name, module in model.named_modules(remove_duplicate=False):
        if not name:
            continue
        last = steps[-1] if steps else None
        if "." in name:
            return None
        if type(module) is nn.Flatten and not flat and (module.start_dim, module.end_dim) == (1, -1):
            flat = True
        elif (type(module) is nn.Linear and flat) or (type(module) is nn.Conv2d and not flat and is_plain(module)):
            steps.append(Step(name, module, None, False))
        elif type(module) is nn.ReLU and last and not (flat and type(last.layer) is nn.Conv2d):
            steps[-1] = Step(last.name, last.layer, last.pool, True)
        elif type(module) is nn.MaxPool2d and not flat and last and last.pool is None and fits(module):
            steps[-1] = Step(last.name, last.layer, module, last.relu)
        else:
            return None
    linear = [step for step in steps if type(step.layer) is nn.Linear]
    biased = all(step.layer.bias is not None for step in steps)
    own = {f"{step.name}.{part}" for step in steps for part in ("weight", "bias")} == dict(
        model.named_parameters()
    ).keys()
    return steps if linear and not linear[-1].relu and biased and own else None


def is_plain(layer: nn.Conv2d) -> bool:
    """Return whether a convolution has one group, no dilation, and zeros for padding."""
    padded = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return layer.groups == 1 and pair(layer.dilation) == (1, 1) and padded


def fits(pool: nn.MaxPool2d) -> bool:
    """Return whether a max-pooling has no padding and no dilation, and leaves an incomplete window out."""
    return (
        pair(pool.padding) == (0, 0)
        and pair(pool.dilation) == (1, 1)
        and not pool.ceil_mode
        and not pool.return_indices
    )


def pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    """Return a setting of a layer, which is one number or two, as (y, x)."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
