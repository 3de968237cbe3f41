"""How many weights each layer keeps, where a method decides this layer by layer; all biases are kept.

A density is the share of a layer's weights that is kept, a real number; a count is the whole number that it becomes.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from snip_cli.pruning.mask import Mask, top_mask

Shapes = Mapping[str, torch.Size]


def uniform(shapes: Shapes, kept: int) -> dict[str, float]:
    """Return the same density for every layer, so that `kept` weights are kept in all."""
    total = sum(shape.numel() for shape in shapes.values())
    return dict.fromkeys(shapes, kept / total)


def erdos_renyi_kernel(shapes: Shapes, kept: int) -> dict[str, float]:
    """Return densities min(1, ε · Σ shape / Π shape), with ε such that `kept` weights are kept in all (Evci et al., ICML 2020, Section 3).

    The shape of a weight is (outputs, inputs, *kernel). Of linear layers alone this is the Erdős-Rényi rule of Mocanu et al. (2018).
    """
    raw = {name: sum(shape) / shape.numel() for name, shape in shapes.items()}
    full: set[str] = set()
    while free := [name for name in shapes if name not in full]:
        left = kept - sum(shapes[name].numel() for name in full)
        epsilon = left / sum(sum(shapes[name]) for name in free)
        # A layer that is full stays so: taking it out leaves more for each of the others.
        over = {name for name in free if epsilon * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in full else epsilon * raw[name] for name in shapes}
        full |= over
    return dict.fromkeys(shapes, 1.0)


DENSITIES: dict[str, Callable[[Shapes, int], dict[str, float]]] = {"erk": erdos_renyi_kernel, "uniform": uniform}


def whole_counts(real: Mapping[str, float], at_most: Mapping[str, int], total: int) -> dict[str, int]:
    """Return whole numbers that add up to `total`, each within 1 of its real one unless `at_most` limits it: the largest remainders are rounded up."""
    counts = {name: min(math.floor(value), at_most[name]) for name, value in real.items()}
    order = sorted(real, key=lambda name: counts[name] - real[name])
    while (missing := total - sum(counts.values())) > 0:
        for name in [name for name in order if counts[name] < at_most[name]][:missing]:
            counts[name] += 1
    return counts


def weight_counts_of(parameters: Mapping[str, Tensor], kept: int, density: str) -> dict[str, int]:
    """Return how many entries each weight keeps by the rule `density` of DENSITIES, if `kept` parameters are kept with all biases."""
    shapes = {name: p.shape for name, p in parameters.items() if p.dim() > 1}
    sizes = {name: shape.numel() for name, shape in shapes.items()}
    wanted = kept - sum(p.numel() for p in parameters.values() if p.dim() == 1)
    densities = DENSITIES[density](shapes, wanted) if shapes else {}
    return whole_counts({name: densities[name] * sizes[name] for name in shapes}, sizes, wanted)


def random_mask(parameters: Mapping[str, Tensor], kept: int, density: str, generator: torch.Generator) -> Mask:
    """Return a mask on the CPU that keeps all biases and, of each weight, as many entries as `density` says, drawn by a CPU `generator`."""
    counts = weight_counts_of(parameters, kept, density)
    return {
        name: top_mask({name: torch.rand(p.shape, generator=generator, dtype=torch.float64)}, counts[name])[name]
        if name in counts
        else torch.ones(p.shape, dtype=torch.bool)
        for name, p in parameters.items()
    }
