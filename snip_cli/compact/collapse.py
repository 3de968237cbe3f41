"""The layers that a mask cuts off, and the sentence that says so: the same for `snip-run` and for `snip_cli.prune`."""

from collections.abc import Mapping, Sequence

from snip_cli.pruning.mask import Mask, layer_counts, weight_counts

# Layers that a sentence names at most.
LISTED = 6


def collapsed_layers(mask: Mask, effective: Mapping[str, int] | None) -> list[str]:
    """Return the layers that no kept path from input to output passes.

    Args:
        mask: bool by parameter name.
        effective: per layer, how many kept parameters lie on such a path (`Paths.counts`); None if the network cannot be followed. Then
            only the layers without a kept weight are known to be cut off.
    """
    if effective is not None:
        return [name for name, count in effective.items() if count == 0]
    layers: dict[str, Mask] = {}
    for name, keep in mask.items():
        layers.setdefault(name.rpartition(".")[0], {})[name] = keep
    counts = {name: weight_counts(own) for name, own in layers.items()}
    return [
        name
        for name, count in counts.items()
        if not (count["weights_kept"] if count["weights_total"] else any(keep.any() for keep in layers[name].values()))
    ]


def describe_collapse(
    mask: Mask, collapsed: Sequence[str], effective: Mapping[str, int] | None, *, remedy: str
) -> str | None:
    """Say which layers a mask cuts off, or that it cuts the network through; None if it does neither.

    Args:
        mask: bool by parameter name.
        collapsed: what `collapsed_layers` returned.
        effective: as for `collapsed_layers`.
        remedy: what to do if the network is cut through.
    """
    if not collapsed:
        return None
    kept = {layer.name: f"{layer.kept:,} kept" for layer in layer_counts(mask)}
    layers = ", ".join(f"{name} ({kept[name]})" for name in collapsed[:LISTED])
    if (more := len(collapsed) - LISTED) > 0:
        layers += f" and {more} more"
    if effective is not None and not any(effective.values()):
        return (
            "no kept path connects input and output, so the network gives every input the same answer: "
            f"{layers}; {remedy}"
        )
    return f"no kept path from input to output passes these layers: {layers}"
