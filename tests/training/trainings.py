"""Short trainings on random images, of which the tests look at every part."""

import copy
import io

import torch

from snip_cli.config.sections import Schedule
from snip_cli.data.splits import Data
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.pruner import FixedMask
from snip_cli.training.trainer import Trainer
from tests.splits import split_of

SEED = 4


def schedule_of(**changes):
    values = {
        "name": "test",
        "iterations": 30,
        "batch_size": 8,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "milestones": [12, 21],
        "decay": 0.5,
        "evaluate_every": 10,
        "checkpoint_every": 10,
    }
    return Schedule(**values | changes)


def random_split(count, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)
    return split_of(images.to(dtype), torch.randint(4, (count,), generator=generator))


def random_data(dtype=torch.float64):
    """Random images and labels: 30 to train with, so that batches of 8 cross the end of an epoch."""
    return Data(*(random_split(count, seed, dtype) for seed, count in enumerate((30, 9, 11))))


def half_mask(model):
    """A mask that keeps about half of each parameter, drawn at random."""
    generator = torch.Generator().manual_seed(6)
    return {name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in prunable_parameters(model).items()}


def as_a_run_holds_it(model, dtype=torch.float64):
    return copy.deepcopy(model).to(dtype=dtype, memory_format=torch.channels_last)


def trainer_of(model, data=None, **changes):
    return Trainer(model, FixedMask(model, half_mask(model)), data or random_data(), schedule_of(**changes), SEED)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def train(trainer):
    """Train to the end; gives the evaluations' rows and the checkpoints' states, as they were at that moment."""
    rows, states = [], []
    trainer.train(
        evaluated=lambda _, row: rows.append(row.to_json()),
        checkpoint=lambda states_: states.append(through_a_file(states_[SEED])),
    )
    return rows, states


def after_every_step(trainer, look):
    """Let `look` be called after each of the trainer's steps."""
    step = trainer.step

    def step_and_look(images, labels):
        loss = step(images, labels)
        look()
        return loss

    trainer.step = step_and_look


def without_times(rows):
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in rows]


def masks_of(trainer):
    """Train to the end; the mask after every iteration, the first before any."""
    masks = [dict(trainer.pruner.mask)]
    after_every_step(trainer, lambda: masks.append(dict(trainer.pruner.mask)))
    train(trainer)
    return masks
