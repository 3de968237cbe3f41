"""The networks in a finished run's folder: the masked network of each seed, and the smaller ones in `compact.pt`."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from snip_cli import registry
from snip_cli.compact.network import Compact, rebuild
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.models.building import build_model
from snip_cli.pruning.mask import apply_mask
from snip_cli.runfolder.record import RunRecord, read_finished
from snip_cli.runtime.device import data_type
from snip_cli.runtime.files import load_tensors, save_tensors

FORMAT = "snip-run compact 1"


def empty_model(config: Config) -> nn.Module:
    """Return a run's network in inference mode and in its data type, on the CPU, with whatever weights its layers start from."""
    return build_model(config).to(data_type(config.dtype)).eval()


def masked_model(run: RunRecord, seed: int) -> nn.Module:
    """Return the trained network of one seed with its mask applied. Raises ConfigError where the folder has no such seed."""
    run.require(seed, run.weights, "checkpoint.pt")
    run.require(seed, run.masks, "mask.pt")
    model = empty_model(run.config)
    model.load_state_dict(run.weights[seed])
    apply_mask(model, run.masks[seed])
    return model


def save(folder: Path, compacted: Mapping[int, Compact]) -> None:
    """Write `compact.pt`: for each seed the sizes and the state that `rebuild` makes the network from."""
    networks = {
        seed: {"state": one.network.state_dict(), "sizes": one.sizes, "pads": one.pads}
        for seed, one in compacted.items()
    }
    content = {"format": FORMAT, "networks": networks}
    save_tensors(folder / "compact.pt", content)


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
    run = read_finished(folder)
    path = folder / "compact.pt"
    remedy = "delete it and run the same command with compact=true again"
    try:
        content = load_tensors(path, remedy)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: run the same command with compact=true to make it.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(f"{path} belongs to another program: {remedy}.")
    networks = content["networks"]
    seed = run.config.seed if seed is None else seed
    if seed not in networks:
        stored = ", ".join(str(known) for known in networks) or "none"
        raise ConfigError(f"{path} does not hold seed {seed} (it holds: {stored}): choose one of these.")
    one = networks[seed]
    return rebuild(empty_model(run.config), tuple(run.config.dataset.shape), one["sizes"], one["pads"], one["state"])
