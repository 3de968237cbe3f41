"""What a finished run's folder holds of networks: the masked one by seed, and in `compact.pt` the smaller ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from snip_cli import registry
from snip_cli.compact.network import Compact, rebuilt
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
    """A finished run: its configuration and, by seed, weights and masks."""

    folder: Path
    config: Config
    weights: dict[int, dict[str, Tensor]]
    masks: dict[int, Mask]

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image."""
        return tuple(self.config.dataset.shape)

    def empty_model(self) -> nn.Module:
        """The run's network in its data type, on the CPU, with whatever weights its layers start from."""
        return build_model(self.config).to(data_type(self.config.dtype)).eval()

    def masked_model(self, seed: int) -> nn.Module:
        """The trained network of one seed with its mask applied; raises ConfigError where the folder has no such seed."""
        for held, file in ((self.weights, "checkpoint.pt"), (self.masks, "mask.pt")):
            if seed not in held:
                there = ", ".join(str(known) for known in sorted(held)) or "none"
                raise ConfigError(
                    f"{self.folder / file} has nothing of seed {seed} (there: {there}): name another seed, or delete metrics.json and run again."
                )
        model = self.empty_model()
        model.load_state_dict(self.weights[seed])
        apply_mask(model, self.masks[seed])
        return model


def read(folder: Path) -> Finished:
    """The finished run in `folder`; raises ConfigError where there is none, or its files are damaged."""
    if record.read_metrics(folder) is None:
        raise ConfigError(
            f"{folder} holds no finished run (there is no metrics.json): name a run's folder, as snip-run prints it."
        )
    config = configuration.read(folder / "config.yaml")
    saved = checkpoint.load(folder)
    return Finished(folder, config, saved.weights, saved.masks)


def save(folder: Path, compacted: Mapping[int, Compact]) -> None:
    """Write `compact.pt`: per seed the state and the sizes that the network can be built from."""
    networks = {
        seed: {"state": one.network.state_dict(), "sizes": one.sizes, "pads": one.pads}
        for seed, one in compacted.items()
    }
    content = {"format": FORMAT, "networks": networks}
    record.write_atomically(folder / "compact.pt", lambda file: torch.save(content, file))


def load(folder: str | Path, *, seed: int | None = None) -> nn.Module:
    """The compact network of one seed, in inference mode on the CPU, from the folder of a run made with `compact=true`.

    Args:
        folder: the run's folder.
        seed: which replicate; without it the run's first.

    Raises:
        ConfigError: no finished run, no `compact.pt`, a damaged one, or no such seed.
    """
    folder = Path(folder)
    registry.load_builtin()
    run = read(folder)
    path = folder / "compact.pt"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"There is no {path}: the run's command with compact=true makes it.") from None
    except Exception as error:  # torch.load raises whatever its unpickler and the zip reader stumble on
        raise ConfigError(f"{path} is damaged: delete it, and the run's command with compact=true makes it.") from error
    networks = content["networks"] if isinstance(content, dict) and content.get("format") == FORMAT else {}
    seed = run.config.seed if seed is None else seed
    if seed not in networks:
        there = ", ".join(str(known) for known in networks) or "none"
        raise ConfigError(f"{path} has no network of seed {seed} (there: {there}): choose one of those.")
    one = networks[seed]
    return rebuilt(run.empty_model(), run.shape, one["sizes"], one["pads"], one["state"])
