"""A small data set and schedule, and how two trainings are compared."""

import torch

from snip_cli.data.resident import ResidentSplit, normalisation
from snip_cli.data.splits import Data
from tests.training.trainings import schedule_of, through_a_file, without_times

SEED, SHAPE, BATCH = 4, (1, 16, 16), 20
OPTIMIZERS = {
    "plain SGD": {"momentum": 0.0},
    "momentum": {"momentum": 0.9, "weight_decay": 5e-4},
    "Nesterov": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "Adam": {"optimizer": "adam", "momentum": 0.0, "learning_rate": 1e-3, "weight_decay": 1e-4},
}


def data_of(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    normalise = normalisation(torch.tensor([0.4]), torch.tensor([0.3]), torch.device("cpu"), dtype)

    def split(count):
        images = torch.randint(256, (count, *SHAPE), generator=generator, dtype=torch.uint8)
        return ResidentSplit(images, torch.randint(10, (count,), generator=generator), normalise)

    return Data(split(90), split(33), split(41))


def settings(**changes):
    return schedule_of(
        **{"batch_size": BATCH, "iterations": 100, "evaluate_every": 50, "checkpoint_every": 50} | changes
    )


def train(training):
    rows, states = [], []
    training.train(
        evaluated=lambda _, row: rows.append(row.to_json()),
        checkpoint=lambda found: states.append(through_a_file(found[SEED])),
    )
    return without_times(rows), states


def assert_same(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )
