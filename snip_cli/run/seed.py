"""A seed before its training: its mask and the network that it starts from, found now or read from a checkpoint."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snip_cli.compact.paths import Paths
from snip_cli.config.schema import Config
from snip_cli.data.splits import Data
from snip_cli.errors import ConfigError
from snip_cli.models.building import State
from snip_cli.pruning.mask import layer_counts
from snip_cli.pruning.method import Pruned
from snip_cli.run.stages import find_mask, started_model
from snip_cli.runfolder import checkpoint
from snip_cli.runtime.processes import ProcessGroup
from snip_cli.training.choice import Replicate

log = logging.getLogger("snip_cli")

# Layers that a warning names.
TOLD = 6


@dataclass(frozen=True)
class Start:
    """A replicate with what its pruning method told, the seconds that its mask cost (`find_mask`), and by layer the kept parameters on a path
    from input to output.

    `effective` is None where the paths are not known, as torch.fx cannot follow the network.
    """

    replicate: Replicate
    pruned: Pruned
    prune_seconds: float
    effective: dict[str, int] | None

    @property
    def effective_kept(self) -> int | None:
        """How many of the kept parameters are on a path from input to output."""
        return None if self.effective is None else sum(self.effective.values())

    @property
    def collapsed(self) -> list[str]:
        """The layers of which nothing is on a path from input to output; where the paths are not known, those of which nothing is kept."""
        if self.effective is None:
            return [layer["name"] for layer in layer_counts(self.pruned.mask) if layer["kept"] == 0]
        return [name for name, count in self.effective.items() if count == 0]

    @property
    def kept(self) -> dict[str, Any]:
        """What a checkpoint holds of the pruning; `kept_mask` reads it."""
        told = {"layers": self.pruned.layers, "facts": self.pruned.facts}
        return {"mask": self.pruned.mask, "told": told, "prune_seconds": self.prune_seconds}


def start_of(
    config: Config, seed: int, data: Data, group: ProcessGroup, paths: Paths, resumed: dict[str, Any] | None
) -> Start:
    """Prune one seed and make the network that is trained, or read the mask from what a checkpoint holds."""
    dense = group.broadcast(trained_weights(config, seed) if group.is_first else None)
    pruned, prune_seconds = kept_mask(resumed) if resumed else shared_mask(config, seed, data, group, dense)
    model = started_model(config, seed, data.train.device, dense)
    replicate = Replicate(seed, model, pruned.mask, resumed["state"] if resumed else None)
    effective = paths.counts(pruned.mask) if group.is_first else None
    return Start(replicate, pruned, prune_seconds, effective)


def trained_weights(config: Config, seed: int) -> State | None:
    """The trained weights of a seed that a method prunes; None where it prunes drawn ones, or `model.weights` names them."""
    if not config.needs_dense:
        return None
    folder = config.dense.folder
    weights = checkpoint.load(folder).weights
    if seed not in weights:
        raise ConfigError(
            f"{folder / 'checkpoint.pt'} has no weights of seed {seed}: delete the folder's metrics.json, and the same command trains it again."
        )
    return weights[seed]


def kept_mask(training: dict[str, Any]) -> tuple[Pruned, float]:
    """The mask that a checkpoint holds, what its method told of it, and the seconds that it took."""
    return Pruned(training["mask"], **training.get("told", {})), training["prune_seconds"]


def shared_mask(
    config: Config, seed: int, data: Data, group: ProcessGroup, dense: State | None
) -> tuple[Pruned, float]:
    """The mask of one seed and the seconds that it took, found by the first process for all."""
    return group.broadcast(find_mask(config, seed, data, dense) if group.is_first else (Pruned({}), 0.0))


def warn_of_collapse(starts: Mapping[int, Start]) -> None:
    """Say which layers of which seed are cut off, and whether that cuts the network through, which cannot learn then."""
    for seed, start in starts.items():
        if not start.collapsed:
            continue
        kept = {layer["name"]: f"{layer['kept']:,} kept" for layer in layer_counts(start.pruned.mask)}
        told = [f"{name} ({kept[name]})" for name in start.collapsed[:TOLD]]
        more = len(start.collapsed) - len(told)
        layers = ", ".join(told) + (f" and {more} more" if more else "")
        if start.effective_kept == 0:
            log.warning(
                "seed %d: the network is cut through and answers every image alike, as nothing that is kept connects input and output: %s; "
                "it is trained all the same: stop it, and lower sparsity or choose another method or init",
                seed,
                layers,
            )
        else:
            log.warning("seed %d: cut off, as no kept path from input to output leads through them: %s", seed, layers)
