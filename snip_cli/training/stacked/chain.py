"""Chains: convolutions with ReLU and max-pooling, then linear layers with ReLU.

R: replicates, B: images of a batch, C: channels, F: features, O and I: units that a layer writes and reads, n: those that remain,
K: classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.pruning.mask import Mask
from snip_cli.training.stacked.stack import Places, Weights, level, select

Layers = Sequence[tuple[str, nn.Module]]


class Chain:
    """The form of an `nn.Sequential` of such layers. What lies between them maps zero, the output of a dead unit, to zero."""

    quick_alone = True  # the layers are the same, only smaller

    def __init__(self, head: Layers, tail: Layers) -> None:
        self.head, self.tail = head, tail
        self.quick_on_cpu = not head  # convolutions of several networks take as long as one after another
        self.layers = [(name, layer) for name, layer in [*head, *tail] if isinstance(layer, nn.Conv2d | nn.Linear)]
        self.first_linear = next(name for name, layer in tail if isinstance(layer, nn.Linear))

    @classmethod
    def of(cls, model: nn.Module) -> "Chain | None":
        """Return the form of `model`; None if it is no such chain, or if two of its layers share a weight."""
        # One ReLU may stand in several places, which `named_children` does not list.
        modules = [(name, m) for name, m in model.named_modules(remove_duplicate=False) if name and "." not in name]
        kinds = [type(module) for _, module in modules]
        if type(model) is not nn.Sequential or kinds.count(nn.Flatten) != 1:
            return None
        middle = kinds.index(nn.Flatten)
        head, tail = modules[:middle], modules[middle + 1 :]
        fits = {*kinds[:middle]} <= {nn.Conv2d, nn.ReLU, nn.MaxPool2d} and {*kinds[middle + 1 :]} <= {
            nn.Linear,
            nn.ReLU,
        }
        plain = all(
            layer.groups == 1 and layer.padding_mode == "zeros" for _, layer in head if type(layer) is nn.Conv2d
        )
        biased = all(getattr(module, "bias", ...) is not None for _, module in modules)
        named = dict(model.named_parameters())  # lists a shared parameter once
        own = all(f"{name}.{part}" in named for name, module in modules for part, _ in module.named_parameters())
        return cls(head, tail) if fits and plain and biased and own and nn.Linear in kinds else None

    def places(self, masks: Sequence[Mask]) -> Places:
        """Return what remains of the networks that the masks prune; every output and every channel of a convolved image does."""
        alive = [self.alive(mask) for mask in masks]
        rows: dict[str, tuple[Tensor, ...]] = {}
        columns: dict[str, Tensor] = {}
        given, width = None, 0  # the units that the layer before writes, and how many it had
        for name, layer in self.layers:
            write_RO, read_RI = (torch.stack([found[name][side] for found in alive]) for side in (0, 1))
            if given is None:
                read = level(read_RI)
                if type(layer) is nn.Linear and read.shape[1] < read_RI.shape[1]:
                    columns[name] = read
            elif read_RI.shape[1] == width:
                read = given
            else:
                pixels = read_RI.shape[1] // width
                among_RC = torch.zeros(len(masks), width, dtype=torch.bool).scatter_(1, given, True)
                read = level(read_RI, among_RC.repeat_interleave(pixels, dim=1))
                if read.shape[1] < given.shape[1] * pixels:
                    columns[name] = within(read, given, width, pixels)
            given, width = level(write_RO), write_RO.shape[1]
            rows[f"{name}.weight"], rows[f"{name}.bias"] = (given, read), (given,)
        return Places(rows, columns)

    def alive(self, mask: Mask) -> dict[str, tuple[Tensor, Tensor]]:
        """Return per layer the units that it writes and those that it reads, bool: True = alive."""
        weights = {name: mask[f"{name}.weight"] for name, _ in self.layers}
        kept = {name: keep.reshape(*keep.shape[:2], -1).any(dim=2) for name, keep in weights.items()}
        first, last = self.layers[0][0], self.layers[-1][0]
        reached: dict[str, tuple[Tensor, Tensor]] = {}
        live_U = torch.ones(kept[first].shape[1], dtype=torch.bool)
        for name, keep_OI in kept.items():
            read_I = live_U.repeat_interleave(keep_OI.shape[1] // len(live_U))
            live_U = (keep_OI & read_I).any(dim=1) | mask[f"{name}.bias"]
            reached[name] = live_U, read_I
        alive: dict[str, tuple[Tensor, Tensor]] = {}
        used_U = torch.ones_like(live_U)
        for name, keep_OI in reversed(kept.items()):
            write_O, read_I = reached[name]
            write_O = used_U if name == last else write_O & used_U.view(len(write_O), -1).any(dim=1)
            used_U = read_I & (keep_OI & write_O[:, None]).any(dim=0)
            alive[name] = write_O, used_U
        if self.head:
            alive[first] = alive[first][0], torch.ones_like(alive[first][1])
        return alive

    def outputs(self, weights: Weights, places: Places, images_RBCHW: Tensor) -> Tensor:
        """Return the outputs, R×B×classes."""
        # On a CPU, convolving several replicates at a time gains nothing.
        at_once = 1 if images_RBCHW.device.type == "cpu" else len(images_RBCHW)
        values = self.convolved(weights, images_RBCHW, at_once) if self.head else images_RBCHW
        return linear_outputs(self.tail, weights, self.read(places, values))[-1]

    def gradients(
        self, weights: Weights, places: Places, images_RBCHW: Tensor, labels_RB: Tensor, smoothing: float
    ) -> tuple[Tensor, Weights] | None:
        """Return the R mean losses, and the gradients of those with label smoothing; None with convolutions, which take most of the time."""
        if self.head:
            return None
        return linear_gradients(self.tail, weights, self.read(places, images_RBCHW), labels_RB, smoothing)

    def read(self, places: Places, values: Tensor) -> Tensor:
        """Return what the first linear layer reads of R×B×C×H×W, R×B×I."""
        features_RBF = values.flatten(2)
        columns = places.columns.get(self.first_linear)
        return features_RBF if columns is None else select(features_RBF, columns)

    def convolved(self, weights: Weights, images_RBCHW: Tensor, at_once: int) -> Tensor:
        """Return R×B×C×H×W after the last convolution or pooling, from `at_once` replicates at a time as groups of one convolution."""
        parts = []
        for first in range(0, len(images_RBCHW), at_once):
            some = slice(first, first + at_once)
            values = channels_last(images_RBCHW[some].transpose(0, 1).flatten(1, 2))
            for name, module in self.head:
                if isinstance(module, nn.Conv2d):
                    weight = channels_last(weights[f"{name}.weight"][some].flatten(0, 1))
                    bias = weights[f"{name}.bias"][some].flatten()
                    stride, padding, dilation = module.stride, module.padding, module.dilation
                    values = F.conv2d(values, weight, bias, stride, padding, dilation, at_once)
                else:
                    values = module(values)
            parts.append(values.unflatten(1, (at_once, -1)).transpose(0, 1))
        return torch.cat(parts)


def linear_outputs(layers: Layers, weights: Weights, values_RBI: Tensor) -> list[Tensor]:
    """Return the input of every layer, R×B×I, and last the output of the last one."""
    values = [values_RBI]
    for name, layer in layers:
        given = values[-1]
        if isinstance(layer, nn.ReLU):
            values.append(F.relu(given))
        else:
            values.append(torch.baddbmm(weights[f"{name}.bias"][:, None], given, weights[f"{name}.weight"].mT))
    return values


def linear_gradients(
    layers: Layers, weights: Weights, values_RBI: Tensor, labels_RB: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Weights]:
    """Return R mean cross-entropies in nats, and the gradient of each, with label smoothing, with respect to its replicate's weights.

    Written out, since autograd's overhead is large beside the products of a network as small as LeNet-300-100
    (`results/performance.md`). The gradients of matrices are views R×O×I of memory in the order R×I×O, as the product returns them
    and a stack holds its blocks.
    """
    *values, outputs_RBK = linear_outputs(layers, weights, values_RBI)
    logs_RBK = F.log_softmax(outputs_RBK, dim=2)
    losses_R = -logs_RBK.gather(2, labels_RB[..., None]).mean(dim=(1, 2))
    classes = outputs_RBK.shape[2]
    targets_RBK = F.one_hot(labels_RB, classes)
    if smoothing:
        targets_RBK = targets_RBK.to(logs_RBK) * (1 - smoothing) + smoothing / classes
    slope = (logs_RBK.exp() - targets_RBK) / labels_RB.shape[1]
    found: Weights = {}
    for (name, layer), given in zip(reversed(layers), reversed(values), strict=True):
        if isinstance(layer, nn.ReLU):
            slope = torch.ops.aten.threshold_backward(slope, given, 0)
            continue
        found[f"{name}.bias"] = slope.sum(dim=1)
        found[f"{name}.weight"] = torch.bmm(given.mT, slope).mT
        if given is not values_RBI:
            slope = torch.bmm(slope, weights[f"{name}.weight"])
    return losses_R, found


def within(read_Rn: Tensor, given_Rn: Tensor, channels: int, pixels: int) -> Tensor:
    """Return where the remaining features are among all features of the remaining channels."""
    place_RC = torch.zeros(len(given_Rn), channels, dtype=torch.int64)
    place_RC.scatter_(1, given_Rn, torch.arange(given_Rn.shape[1]).expand_as(given_Rn))
    return place_RC.gather(1, read_Rn // pixels) * pixels + read_Rn % pixels


def channels_last(values_NCHW: Tensor) -> Tensor:
    """Return the values in channels-last order."""
    # `contiguous` would leave the strides of a single channel, which fit both orders, in the slow one.
    return values_NCHW.to(memory_format=torch.channels_last)
