"""Training without dead units, and of several replicates at once, is the masked training of each, to rounding."""

import pytest
import torch

from snip_cli import registry
from snip_cli.data.splits import Data
from snip_cli.errors import RunError
from snip_cli.pruning.mask import prunable_parameters, top_mask
from snip_cli.training.stack.stack import form_of
from snip_cli.training.together import Together
from snip_cli.training.trainer import Trainer
from tests.splits import split_of
from tests.training.test_trainer import schedule_of, through_a_file, without_times

SEEDS = [4, 5, 6]
SIDES = {"lenet_300_100": 8, "lenet_5_caffe": 16, "lstm_s": 6, "lstm_b": 6, "gru_s": 6, "gru_b": 6}


def data_of(side):
    generator = torch.Generator().manual_seed(1)

    def split(count):
        images = torch.randn(count, 1, side, side, generator=generator, dtype=torch.float64)
        return split_of(images, torch.randint(10, (count,), generator=generator))

    return Data(*(split(count) for count in (30, 9, 11)))


def network_of(name, seed):
    torch.manual_seed(seed)
    return registry.models[name]((1, SIDES[name], SIDES[name]), 10).double()


def mask_of(model, seed, kept):
    """A mask that leaves units of every kind: dead at once, dead by others, without inputs but with a bias, and gates without weights."""
    generator = torch.Generator().manual_seed(seed)
    scores = {}
    for name, parameter in prunable_parameters(model).items():
        score = torch.rand(parameter.shape, generator=generator)
        score *= torch.rand(len(parameter), generator=generator).view(-1, *[1] * (parameter.dim() - 1)) ** 2
        scores[name] = score * (0.3 if parameter.dim() == 1 else 1.0)
    return top_mask(scores, round(kept * sum(score.numel() for score in scores.values())))


def replicates(name, kept):
    models = [network_of(name, seed) for seed in SEEDS]
    return models, [mask_of(model, seed, kept) for model, seed in zip(models, SEEDS, strict=True)]


def together_of(name, kept, data, seeds=SEEDS, **changes):
    models, masks = replicates(name, kept)
    places = [SEEDS.index(seed) for seed in seeds]
    chosen = [models[i] for i in places], [masks[i] for i in places]
    return Together(form_of(models[0]), *chosen, data, schedule_of(batch_size=4, **changes), seeds)


def apart_of(name, kept, data, **changes):
    models, masks = replicates(name, kept)
    schedule = schedule_of(batch_size=4, **changes)
    return [Trainer(model, mask, data, schedule, seed) for model, mask, seed in zip(models, masks, SEEDS, strict=True)]


def train(training):
    """Train to the end; gives each seed's rows and the checkpoints, as they were at that moment."""
    rows = {}
    checkpoints = []
    training.train(
        evaluated=lambda seed, row: rows.setdefault(seed, []).append(dict(row)),
        checkpoint=lambda states: checkpoints.append(through_a_file(states)),
    )
    return rows, checkpoints


@pytest.mark.parametrize("kept", [1.0, 0.1, 0.02])
@pytest.mark.parametrize("name", SIDES)
def test_replicates_together_end_where_each_ends_alone(name, kept):
    data = data_of(SIDES[name])
    changes = {"iterations": 100, "evaluate_every": 50, "learning_rate": 0.02, "milestones": [60]}
    together = together_of(name, kept, data, **changes)
    rows, _ = train(together)
    for apart, weights in zip(apart_of(name, kept, data, **changes), together.weights(), strict=True):
        alone, _ = train(apart)
        assert list(weights) == list(apart.model.state_dict())
        for key, expected in apart.model.state_dict().items():
            torch.testing.assert_close(weights[key], expected, rtol=0, atol=1e-9)
        for found, row in zip(without_times(rows[apart.seed]), without_times(alone[apart.seed]), strict=True):
            assert found == pytest.approx(row, rel=0, abs=1e-9)
