"""Run folders as runs leave them, made without a run."""

import csv
import json

import torch
from omegaconf import OmegaConf

SETTINGS = """\
dataset: {name: mnist, root: data, shape: [1, 28, 28], classes: 10, split_seed: 9}
model: {name: lenet_300_100}
method: {name: snip, redraw: true}
init: {name: vs_x}
init_train: {name: vs_x}
schedule: {name: lenet, iterations: 100000, batch_size: 100, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0005,
  milestones: [25000, 50000, 75000], decay: 0.1, evaluate_every: 1000, checkpoint_every: 1000}
sparsity: 0.95
seed: 0
seeds: 1
device: auto
dtype: float32
output_dir: runs
dry_run: false
"""
SHORT = {"method": "method.name", "model": "model.name", "dataset": "dataset.name", "iterations": "schedule.iterations"}
# What the schedule lenet_adam sets.
ADAM = {
    **{"schedule.optimizer": "adam", "schedule.learning_rate": 0.001, "schedule.momentum": 0.0},
    **{"schedule.weight_decay": 0.0, "schedule.milestones": [], "iterations": 20000},
}

UNSEEN = ("learning_rate", "val_loss", "val_error", "test_loss")


def record(top, name, errors, *, seed=0, seeds=None, masks=None, **settings):
    """Make a run folder with these test errors, one a seed, and give it; unfinished where there are none.

    Settings go by their dotted names, and `masks` by seed: what each pixel keeps of a first layer of four units.
    """
    folder = top / name
    folder.mkdir(parents=True)
    config = OmegaConf.create(SETTINGS)
    settings |= {"seed": seed, "seeds": seeds or max(len(errors), 1)}
    for key, value in settings.items():
        OmegaConf.update(config, SHORT.get(key, key), value)
    OmegaConf.save(config, folder / "config.yaml")
    if errors:
        results = [{"seed": seed + i, "test_error": e, "test_error_best": e - 0.1} for i, e in enumerate(errors)]
        (folder / "metrics.json").write_text(json.dumps({"seeds": results}))
    if masks:
        kept = {seed: torch.tensor(kept).flatten() for seed, kept in masks.items()}
        first = {seed: torch.stack([kept_I > unit for unit in range(4)]) for seed, kept_I in kept.items()}
        torch.save(
            {seed: {"fc1.weight": keep, "fc1.bias": torch.ones(4).bool()} for seed, keep in first.items()},
            folder / "mask.pt",
        )
    return folder


def with_costs(folder, *costs):
    """Give each seed of a run's folder a cost, and the counts of its weights."""
    path = folder / "metrics.json"
    content = json.loads(path.read_text())
    for seed, cost in zip(content["seeds"], costs, strict=True):
        seed |= {"cost": cost, "weights_total": 1000, "weights_kept": 15}
    path.write_text(json.dumps(content))


def evaluations(folder, losses, errors, train_errors=None):
    """Write the `metrics.csv` of a run folder: by seed a loss and an error for each thousand iterations."""
    rows = []
    for seed, of_seed in losses.items():
        for place, loss in enumerate(of_seed):
            numbers = {"train_loss": loss, "test_error": errors[seed][place]}
            if train_errors:
                numbers["train_error"] = train_errors[seed][place]
            rows.append({"seed": seed, "iteration": 1000 * (place + 1), **dict.fromkeys(UNSEEN, 0.1), **numbers})
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
