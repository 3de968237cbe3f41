"""`mask.pt` and `checkpoint.pt`: tensors and plain Python only, written atomically, read with `weights_only=True`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from snip_cli.errors import ConfigError
from snip_cli.runfolder.results import SeedResult, read_metrics
from snip_cli.runtime.files import load_tensors, save_tensors

FORMAT = "snip-run 1"

# A bool tensor per prunable parameter, True = kept.
Mask = dict[str, Tensor]
# Parameters and buffers by name.
State = dict[str, Tensor]
# A seed whose training is not finished: its mask and the state of its trainer. Tensors and plain Python; run/seed.py writes and reads it.
SavedSeed = dict[str, Any]


@dataclass
class Saved:
    """What a run has so far, by seed: final weights, masks and results, and the training state of the seeds in progress."""

    weights: dict[int, State] = field(default_factory=dict)
    masks: dict[int, Mask] = field(default_factory=dict)
    results: dict[int, SeedResult] = field(default_factory=dict)
    training: dict[int, SavedSeed] = field(default_factory=dict)


def save(folder: Path, saved: Saved) -> None:
    """Write `checkpoint.pt`: weights and results of the finished seeds, and the state of those in training if there are any."""
    # A result whose weights somebody deleted stays in metrics.json alone, so that the seed can be trained again.
    results = {seed: result.to_json() for seed, result in saved.results.items() if seed in saved.weights}
    content = {"format": FORMAT, "run": folder.name, "weights": saved.weights, "results": results}
    if saved.training:
        content["training"] = saved.training
    save_tensors(folder / "checkpoint.pt", content)


def save_masks(folder: Path, saved: Saved) -> None:
    """Write `mask.pt`: per seed the bool mask by parameter name, True = kept."""
    save_tensors(folder / "mask.pt", saved.masks)


def load(folder: Path, run: str | None = None) -> Saved:
    """Return what the folder holds; nothing where the run has not begun.

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
        saved.weights = content["weights"]
        saved.results = {seed: SeedResult.from_json(result) for seed, result in content["results"].items()}
        training = content.get("training") or {}
        # An earlier version trained one seed at a time.
        saved.training = {training["seed"]: training} if "seed" in training else training
    metrics = read_metrics(folder)
    if metrics is not None:
        saved.results = {result.seed: result for result in metrics.seeds} | saved.results
    saved.masks = load_masks(folder)
    return saved


def load_masks(folder: Path) -> dict[int, Mask]:
    """Return the masks by seed, none where the folder has no `mask.pt`. Raises ConfigError where that is damaged."""
    masks = _read(folder / "mask.pt")
    if masks is None:
        return {}
    if not isinstance(masks, dict) or not all(isinstance(mask, dict) for mask in masks.values()):
        raise ConfigError(f"{folder / 'mask.pt'} belongs to another program: delete the folder to start over.")
    return masks


def save_early(folder: Path, iteration: int, weights: Mapping[int, State]) -> None:
    """Add the weights of seeds after an early `iteration`, from which a later run may restart, to `early-ITERATION.pt`."""
    everything = load_early(folder, iteration) | dict(weights)
    save_tensors(folder / f"early-{iteration}.pt", everything)


def load_early(folder: Path, iteration: int) -> dict[int, State]:
    """Return the weights after an early `iteration` by seed, none where there is no such file. Raises ConfigError where it is damaged."""
    path = folder / f"early-{iteration}.pt"
    remedy = "delete this file, and the same command makes it again"
    try:
        early = load_tensors(path, remedy)
    except FileNotFoundError:
        return {}
    if not isinstance(early, dict) or not all(isinstance(state, dict) for state in early.values()):
        raise ConfigError(f"{path} belongs to another program: {remedy}.")
    return early


def _read(path: Path) -> Any:
    try:
        return load_tensors(path, f"restore it, or delete the folder {path.parent} to start over")
    except FileNotFoundError:
        return None
