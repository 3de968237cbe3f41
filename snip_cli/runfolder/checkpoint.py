"""`mask.pt` and `checkpoint.pt`: tensors and plain Python only, written atomically, read with `weights_only=True`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from snip_cli.errors import ConfigError
from snip_cli.pruning.mask import Mask
from snip_cli.runfolder.record import Result, read_metrics, write_atomically

FORMAT = "snip-run 1"


@dataclass
class Saved:
    """What a run has so far, by seed: final weights, masks and results; and the training state of the seeds in progress."""

    weights: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)
    masks: dict[int, Mask] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)
    training: dict[int, dict[str, Any]] = field(default_factory=dict)


def save(folder: Path, saved: Saved) -> None:
    """Write `checkpoint.pt`: the weights and results of the seeds done, and the state of those in training if there are any."""
    # A result without its weights (somebody deleted them) stays in metrics.json alone, so that it can be trained anew.
    results = {seed: result for seed, result in saved.results.items() if seed in saved.weights}
    content = {"format": FORMAT, "run": folder.name, "weights": saved.weights, "results": results}
    if saved.training:
        content["training"] = saved.training
    write_atomically(folder / "checkpoint.pt", lambda file: torch.save(content, file))


def save_masks(folder: Path, saved: Saved) -> None:
    """Write `mask.pt`: per seed the bool mask by parameter name, True = kept."""
    write_atomically(folder / "mask.pt", lambda file: torch.save(saved.masks, file))


def load(folder: Path, run: str | None = None) -> Saved:
    """What the folder holds, empty where the run has not begun.

    Raises ConfigError where a file is damaged, or belongs to another run than the one called `run`.
    """
    saved = Saved()
    content = _read(folder / "checkpoint.pt")
    if content is not None:
        parts = {"format", "run", "weights", "results"}
        ours = isinstance(content, dict) and parts <= content.keys() and content["format"] == FORMAT
        if not ours or run not in (None, content["run"]):
            raise ConfigError(
                f"{folder / 'checkpoint.pt'} belongs to another run or program: delete the folder to start over."
            )
        saved.weights, saved.results = content["weights"], content["results"]
        training = content.get("training") or {}
        # An earlier version trained one seed at a time.
        saved.training = {training["seed"]: training} if "seed" in training else training
    metrics = read_metrics(folder)
    if metrics is not None:
        saved.results = {result["seed"]: result for result in metrics["seeds"]} | saved.results
    saved.masks = load_masks(folder)
    return saved


def load_masks(folder: Path) -> dict[int, Mask]:
    """The masks by seed that the folder holds, none where it has no `mask.pt`; raises ConfigError where that is damaged."""
    masks = _read(folder / "mask.pt")
    if masks is None:
        return {}
    if not isinstance(masks, dict) or not all(isinstance(mask, dict) for mask in masks.values()):
        raise ConfigError(f"{folder / 'mask.pt'} belongs to another program: delete the folder to start over.")
    return masks


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # torch.load raises whatever its unpickler and the zip reader stumble on
        raise ConfigError(
            f"{path} is damaged and cannot be read: restore it, or delete the folder {path.parent} to start over."
        ) from error
