"""The pairs of consecutive layers whose connections are pruned. They are found by running the network once.

Layers are listed in the order in which they run. The authors' code of SNACS uses the same order: it numbers the 1×1 convolution of a
shortcut after the block's main path, and that is when it runs.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import PRUNABLE_LAYERS, prunable_parameters

# Choices of `find_pairs` and of the methods' option `pairs`.
PAIRS = ("all", "published")


@dataclass(frozen=True)
class Pair:
    """Names of two layers: the output channels of `parent` feed `child`, and the weight that is pruned is the child's."""

    parent: str
    child: str


@dataclass(frozen=True)
class LayerCall:
    """One layer as it ran, and the tensor that it read."""

    name: str
    layer: nn.Conv2d | nn.Linear
    read: Tensor


def find_pairs(model: nn.Module, example_1CHW: Tensor, *, which: str = "all") -> list[Pair]:
    """Return the pairs of `model`, in the order in which the children run.

    The parent of a layer is the layer that ran before it, as in the authors' code: additions by shortcuts are ignored, and depthwise
    convolutions, which keep channels apart, are passed through. There are three exceptions. A layer that reads the same tensor as an
    earlier layer (the convolution of a shortcut, beside its block's first) has the parent of that layer. A layer whose inputs are not the
    channels of the layer before it (after a concatenation) has no pair. A layer that is not pruned, such as a frozen one, is never a child.

    Args:
        model: any network of plain convolutions and linear layers; it is left unchanged.
        example_1CHW: an image of the right shape on the model's device, which may be `meta`.
        which: `all`, or `published` for the list in the authors' code. That list has all pairs of VGG16 and ResNet56, and 47 of
            ResNet50's 53: it starts after the pair whose parent is the first block's shortcut convolution and lacks the classifier.
            In it the parent of a shortcut convolution is the layer that ran before it, and only as many of that layer's first channels
            are used as the convolution has inputs (`parent_channels`).

    Raises:
        ConfigError: the network has no pair, a layer of another kind, or a layer that runs twice.
    """
    assert which in PAIRS
    calls = run_once(model, example_1CHW)
    pairs = consecutive_pairs(calls) if which == "all" else published_pairs(calls)
    prunable = prunable_parameters(model)
    pairs = [pair for pair in pairs if f"{pair.child}.weight" in prunable]
    if not pairs:
        raise ConfigError(
            "The model has no two consecutive convolution or linear layers to compare: choose another model, or method=snip."
        )
    return pairs


def layer_names(pairs: Iterable[Pair]) -> list[str]:
    """Return the names of all parents and children, each once."""
    return list(dict.fromkeys(name for pair in pairs for name in (pair.parent, pair.child)))


def inputs_per_channel(model: nn.Module, pair: Pair) -> int:
    """Return how many consecutive inputs of the child each channel of the parent feeds: height × width after a flatten, else 1."""
    return max(1, child_inputs(model, pair) // len(model.get_parameter(f"{pair.parent}.weight")))


def parent_channels(model: nn.Module, pair: Pair) -> int:
    """Return how many of the parent's channels feed the child: all, except in some `published` pairs (see `find_pairs`)."""
    return child_inputs(model, pair) // inputs_per_channel(model, pair)


def child_inputs(model: nn.Module, pair: Pair) -> int:
    """Return the child's number of input channels."""
    return model.get_parameter(f"{pair.child}.weight").shape[1]


def example_of(batches: Iterable[Batch]) -> Tensor:
    """Return the first image of the first batch, 1×C×H×W; raises ConfigError if the model has several inputs."""
    images: object = next(iter(batches))[0]
    if not isinstance(images, Tensor):
        raise ConfigError(
            f"This method compares the layers of models that take one tensor, but the inputs are a {type(images).__name__}: choose method=snip, random or magnitude."
        )
    return images[:1]


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Disable gradients and put every module in evaluation mode; restore each module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def run_once(model: nn.Module, example_1CHW: Tensor) -> list[LayerCall]:
    """Return the scorable layers in the order in which they run on the example.

    Raises ConfigError for a layer that runs twice, or at several places of one image.
    """
    calls: list[LayerCall] = []

    def note(name: str, layer: nn.Conv2d | nn.Linear, inputs: tuple[Tensor, ...]) -> None:
        if any(call.name == name for call in calls):
            raise ConfigError(
                f"Layer '{name}' runs more than once on an image, and its connections need a single activation: choose another model, or method=snip."
            )
        if inputs[0].dim() != layer.weight.dim():
            raise ConfigError(
                f"Layer '{name}' runs at several places of an image at once, and such channels cannot be compared: choose another model, or method=snip."
            )
        calls.append(LayerCall(name, layer, inputs[0]))

    handles = [layer.register_forward_pre_hook(partial(note, name)) for name, layer in scorable_layers(model).items()]
    try:
        with inference(model):
            model(example_1CHW)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def scorable_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Return the plain convolutions and linear layers by name; depthwise convolutions are left out.

    Raises ConfigError for a layer with weights of another kind.
    """
    layers: dict[str, nn.Conv2d | nn.Linear] = {}
    for name, layer in model.named_modules():
        if not isinstance(layer, PRUNABLE_LAYERS):
            continue
        grouped = isinstance(layer, nn.Conv2d) and layer.groups > 1
        if grouped and layer.groups == layer.in_channels == layer.out_channels:
            continue
        if grouped or not isinstance(layer, nn.Conv2d | nn.Linear):
            kind = "a grouped convolution" if grouped else f"of kind {type(layer).__name__}"
            raise ConfigError(
                f"Layer '{name}' is {kind}, but only channels of plain convolutions and linear layers can be compared: choose another model, or method=snip."
            )
        layers[name] = layer
    return layers


def consecutive_pairs(calls: list[LayerCall]) -> list[Pair]:
    """Return one pair for every layer whose inputs are the channels of its parent."""
    parents: list[LayerCall | None] = []
    for place, call in enumerate(calls):
        first = first_reader(calls, call)
        parents.append(parents[first] if first < place else calls[place - 1] if place else None)
    return [
        Pair(parent.name, call.name)
        for parent, call in zip(parents, calls, strict=True)
        if parent is not None and channels_match(parent.layer, call.layer)
    ]


def published_pairs(calls: list[LayerCall]) -> list[Pair]:
    """Return the list of the authors' code: every layer with the one before it, without both ends where shortcuts have convolutions."""
    pairs = [
        Pair(parent.name, child.name)
        for parent, child in itertools.pairwise(calls)
        if channels_match(parent.layer, child.layer) or parent.layer.weight.shape[0] > child.layer.weight.shape[1]
    ]
    shortcuts = [call.name for place, call in enumerate(calls) if first_reader(calls, call) < place]
    if not shortcuts:
        return pairs
    parents = [pair.parent for pair in pairs]
    return pairs[parents.index(shortcuts[0]) + 1 : -1]


def first_reader(calls: list[LayerCall], call: LayerCall) -> int:
    """Return the place of the first layer that read the tensor that `call` read."""
    return next(place for place, other in enumerate(calls) if other.read is call.read)


def channels_match(parent: nn.Conv2d | nn.Linear, child: nn.Conv2d | nn.Linear) -> bool:
    """Return whether each channel of the parent feeds one input of the child or, after a flatten, the same number of inputs."""
    inputs, channels = child.weight.shape[1], parent.weight.shape[0]
    flattened = isinstance(parent, nn.Conv2d) and isinstance(child, nn.Linear)
    return inputs % channels == 0 if flattened else inputs == channels
