"""Run folders as runs leave them, made without a run."""

import json

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


def record(top, name, errors, *, seed=0, seeds=None, **settings):
    """A run folder with these test errors, one a seed, and gives it; unfinished where there are none. Settings by their dotted names."""
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
    return folder
