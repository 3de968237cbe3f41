"""The networks in a finished run's folder: the masked network of each seed, and the smaller ones in `compact.pt`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from snip_cli import registry
from snip_cli.compact.network import Compact, rebuild
from snip_cli.config import reading as configuration
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.models.building import build_model
from snip_cli.pruning.mask import Mask, apply_mask
from snip_cli.runfolder import checkpoint, record
from snip_cli.runtime.device import data_type

FORMAT = "snip-run compact 1"


@dataclass(frozen=True)
class Finished:
    """A finished run: its configuration, and the weights and masks by seed."""

    folder: Path
    config: Config
    weights: dict[int, dict[str, Tensor]]
    masks: dict[int, Mask]

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image."""
        return tuple(self.config.dataset.shape)

    def empty_model(self) -> nn.Module:
        """Return the run's network in its data type, on the CPU, with untrained weights."""
        return build_model(self.config).to(data_type(self.config.dtype)).eval()

    def masked_model(self, seed: int) -> nn.Module:
        """Return the trained network of one seed with its mask applied.

        Raises ConfigError if the folder has no such seed.
        """
        for held, file in ((self.weights, "checkpoint.pt"), (self.masks, "mask.pt")):
            if seed not in held:
                stored = ", ".join(str(known) for known in sorted(held)) or "none"
                raise ConfigError(
                    f"{self.folder / file} does not hold seed {seed} (it holds: {stored}): name another seed, or delete metrics.json and run again."
                )
        model = self.empty_model()
        model.load_state_dict(self.weights[seed])
        apply_mask(model, self.masks[seed])
        return model


def read(folder: Path) -> Finished:
    """Return the finished run in `folder`. Raises ConfigError if there is none or a file of it is damaged."""
    if record.read_metrics(folder) is None:
        raise ConfigError(
            f"{folder} holds no finished run (there is no metrics.json): name a run's folder, as snip-run prints it."
        )
    config = configuration.read(folder / "config.yaml")
    saved = checkpoint.load(folder)
    return Finished(folder, config, saved.weights, saved.masks)


def save(folder: Path, compacted: Mapping[int, Compact]) -> None:
    """Write `compact.pt`: for each seed the sizes and the state that `rebuild` makes the network from."""
    networks = {
        seed: {"state": one.network.state_dict(), "sizes": one.sizes, "pads": one.pads}
        for seed, one in compacted.items()
    }
    content = {"format": FORMAT, "networks": networks}
    record.write_atomically(folder / "compact.pt", lambda file: torch.save(content, file))


def load(folder: str | Path, *, seed: int | None = None) -> nn.Module:
    """Return the compact network of one seed, in inference mode on the CPU, from the folder of a run made with
    `compact=true`.

    Args:
        folder: the run's folder.
        seed: the replicate; the run's first seed by default.

    Raises:
        ConfigError: the folder holds no finished run, no `compact.pt`, a damaged one, or no such seed.
    """
    folder = Path(folder)
    registry.load_builtin()
    run = read(folder)
    path = folder / "compact.pt"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: run the same command with compact=true to make it.") from None
    except Exception as error:  # torch.load raises whatever its unpickler and the zip reader meet
        raise ConfigError(f"{path} is damaged: delete it and run the same command with compact=true again.") from error
    networks = content["networks"] if isinstance(content, dict) and content.get("format") == FORMAT else {}
    seed = run.config.seed if seed is None else seed
    if seed not in networks:
        stored = ", ".join(str(known) for known in networks) or "none"
        raise ConfigError(f"{path} does not hold seed {seed} (it holds: {stored}): choose one of these.")
    one = networks[seed]
    return rebuild(run.empty_model(), run.shape, one["sizes"], one["pads"], one["state"])
