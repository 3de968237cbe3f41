"""The pairs of consecutive layers between which connections are scored, found by running the network once.

Layers stand in the order in which they run. That is the order of the authors' code too: it numbers the 1×1 convolution of a shortcut
after the block's main path, and that is when it runs.
"""

import itertools
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.layers import inference, scorable_layers


@dataclass(frozen=True)
class Pair:
    """Names of two layers: the output channels of `parent` feed `child`, and the weight that is pruned is the child's."""

    parent: str
    child: str


@dataclass(frozen=True)
class Step:
    """One layer as it ran, and the tensor that it read."""

    name: str
    layer: nn.Conv2d | nn.Linear
    read: Tensor


def find_pairs(model: nn.Module, example_1CHW: Tensor, *, which: str = "all") -> list[Pair]:
    """The pairs of `model`, in the order in which the children run.

    A child's parent is the layer that ran before it, as in the authors' code: what a shortcut adds in between is ignored, and depthwise
    convolutions, which hand every channel on as it is, are passed through. But a layer that reads the very tensor that an earlier layer
    read (the convolution of a shortcut beside its block's first) has that layer's parent, and a layer whose inputs are not the channels
    of the layer before it (after a concatenation) has no pair. Neither has a frozen layer, which nobody prunes.

    Args:
        model: any network of plain convolutions and linear layers; it is left as it was.
        example_1CHW: an image of the right shape on the model's device, which may be `meta`.
        which: `all`, or `published` for the list in the authors' code: it is all of them for VGG16 and ResNet56, 47 of 53 for ResNet50.
            From the first layer that reads what another read, the shortcut's in the first block, all pairs up to the one that it is
            the parent of are left out, and so is the classifier's; and the parent of such a layer is the layer that ran before it
            after all, of which the first channels are taken (`parent_channels`).

    Raises:
        ConfigError: an unknown choice, a network with layers of another kind or none, or one that runs a layer twice.
    """
    if which not in ("all", "published"):
        raise ConfigError(f"method.pairs must be all or published, not {which!r}.")
    steps = run_once(model, example_1CHW)
    pairs = consecutive(steps) if which == "all" else published(steps)
    layers = {step.name: step.layer for step in steps}
    pairs = [pair for pair in pairs if layers[pair.child].weight.requires_grad]
    if not pairs:
        raise ConfigError(
            "The model has no two consecutive convolution or linear layers to compare: choose another model, or method=snip."
        )
    return pairs


def run_once(model: nn.Module, example_1CHW: Tensor) -> list[Step]:
    """The layers in the order in which they run on the example; raises ConfigError where one does so twice or not on an image."""
    steps: list[Step] = []

    def note(name: str, layer: nn.Conv2d | nn.Linear, inputs: tuple[Tensor, ...]) -> None:
        if any(step.name == name for step in steps):
            raise ConfigError(
                f"Layer '{name}' runs more than once on an image, and one activation of it is wanted: choose another model, or method=snip."
            )
        if inputs[0].dim() != layer.weight.dim():
            raise ConfigError(
                f"Layer '{name}' runs at several places of an image at once, and its channels are not compared: choose another model, or method=snip."
            )
        steps.append(Step(name, layer, inputs[0]))

    handles = [layer.register_forward_pre_hook(partial(note, name)) for name, layer in scorable_layers(model).items()]
    try:
        with inference(model):
            model(example_1CHW)
    finally:
        for handle in handles:
            handle.remove()
    return steps


def consecutive(steps: list[Step]) -> list[Pair]:
    """A pair for every layer whose inputs are the channels of its parent."""
    parents: list[Step | None] = []
    for place, step in enumerate(steps):
        twin = first_reader(steps, step)
        parents.append(parents[twin] if twin < place else steps[place - 1] if place else None)
    return [
        Pair(parent.name, step.name)
        for parent, step in zip(parents, steps, strict=True)
        if parent is not None and fits(parent.layer, step.layer)
    ]


def published(steps: list[Step]) -> list[Pair]:
    """The list of the authors' code: every layer and the one before it, short of the ends where there are convolutions in shortcuts."""
    pairs = [
        Pair(parent.name, child.name)
        for parent, child in itertools.pairwise(steps)
        if fits(parent.layer, child.layer) or parent.layer.weight.shape[0] > child.layer.weight.shape[1]
    ]
    shortcuts = [step.name for place, step in enumerate(steps) if first_reader(steps, step) < place]
    if not shortcuts:
        return pairs
    parents = [pair.parent for pair in pairs]
    return pairs[parents.index(shortcuts[0]) + 1 : -1]


def first_reader(steps: list[Step], step: Step) -> int:
    """The place of the first layer that read what `step` reads."""
    return next(place for place, other in enumerate(steps) if other.read is step.read)


def fits(parent: nn.Conv2d | nn.Linear, child: nn.Conv2d | nn.Linear) -> bool:
    """Whether the child has one input for each channel of the parent or, after a flatten, equally many consecutive ones."""
    inputs, channels = child.weight.shape[1], parent.weight.shape[0]
    flattened = isinstance(parent, nn.Conv2d) and isinstance(child, nn.Linear)
    return inputs % channels == 0 if flattened else inputs == channels


def inputs_per_channel(pair: Pair, model: nn.Module) -> int:
    """How many consecutive inputs of the child a channel of the parent feeds: height × width where it was flattened, else 1."""
    return max(1, _inputs(pair, model) // model.get_submodule(pair.parent).weight.shape[0])


def parent_channels(pair: Pair, model: nn.Module) -> int:
    """How many of the parent's channels feed the child: all; in the authors' list for a shortcut's convolution, as many as it has inputs."""
    return _inputs(pair, model) // inputs_per_channel(pair, model)


def _inputs(pair: Pair, model: nn.Module) -> int:
    return model.get_submodule(pair.child).weight.shape[1]
