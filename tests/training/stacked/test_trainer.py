"""Training without dead units, and of several replicates at once, is the masked training of each, to rounding."""

import pytest
import torch

from snip_cli import registry
from snip_cli.data.splits import Data
from snip_cli.errors import RunError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import top_mask
from snip_cli.pruning.pruner import FixedMask
from snip_cli.training.choice import find_form
from snip_cli.training.loop import Meter
from snip_cli.training.stacked.trainer import StackedTrainer
from snip_cli.training.trainer import Trainer
from tests.splits import split_of
from tests.training.trainings import schedule_of, through_a_file, without_times

SEEDS = [4, 5, 6]
SIDES = {"lenet_300_100": 8, "lenet_5_caffe": 16, "lstm_s": 6, "lstm_b": 6, "gru_s": 6, "gru_b": 6}


def data_of(side):
    generator = torch.Generator().manual_seed(1)

    def split(count):
        images = torch.randn(count, 1, side, side, generator=generator, dtype=torch.float64)
        return split_of(images, torch.randint(10, (count,), generator=generator))

    return Data(*(split(count) for count in (30, 9, 11)))


def network_of(name, seed):
    """A network as a run holds it, channels last."""
    torch.manual_seed(seed)
    network = registry.models[name]((1, SIDES[name], SIDES[name]), 10).double()
    return network.to(memory_format=torch.channels_last)


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


def stacked_of(name, kept, data, seeds=SEEDS, **changes):
    models, masks = replicates(name, kept)
    places = [SEEDS.index(seed) for seed in seeds]
    chosen = [models[i] for i in places], [masks[i] for i in places]
    return StackedTrainer(find_form(models[0]), *chosen, data, schedule_of(batch_size=4, **changes), seeds)


def apart_of(name, kept, data, **changes):
    models, masks = replicates(name, kept)
    schedule = schedule_of(batch_size=4, **changes)
    given = zip(models, masks, SEEDS, strict=True)
    return [Trainer(model, FixedMask(model, mask), data, schedule, seed) for model, mask, seed in given]


def train(training):
    """Train to the end; gives each seed's rows and the checkpoints, as they were at that moment."""
    rows = {}
    checkpoints = []
    training.train(
        evaluated=lambda seed, row: rows.setdefault(seed, []).append(row.to_json()),
        checkpoint=lambda states: checkpoints.append(through_a_file(states)),
    )
    return rows, checkpoints


ADAM = {"optimizer": "adam", "momentum": 0.0, "learning_rate": 0.002}

# How many iterations show it in a short time.
LENGTHS = {name: 10 if name.endswith("_b") else 100 for name in SIDES}


@pytest.mark.parametrize("name", SIDES)
def test_replicates_together_end_where_each_ends_alone(name):
    assert_same_end(name, 0.1, iterations=LENGTHS[name], learning_rate=0.02)


@pytest.mark.parametrize("kept", [1.0, 0.02])
@pytest.mark.parametrize("name", ["lenet_300_100", "lenet_5_caffe", "lstm_s", "gru_s"])
def test_with_everything_kept_and_with_next_to_nothing_too(name, kept):
    assert_same_end(name, kept, iterations=12, milestones=[7])


@pytest.mark.parametrize(
    "changes",
    [{"momentum": 0.0}, {"weight_decay": 0.0}, {"nesterov": True, "warmup": 7}, {"label_smoothing": 0.3}, ADAM],
    ids=str,
)
def test_under_every_schedule_too(changes):
    assert_same_end("lenet_300_100", 0.1, **changes)


def test_the_weights_of_a_gate_that_acts_on_nothing_decay_as_they_do_alone():
    data, seed = data_of(SIDES["gru_s"]), SEEDS[0]
    model = network_of("gru_s", seed)
    mask = mask_of(model, seed, 0.1)
    for name in ("weight_hh_l0", "bias_hh_l0"):  # the reset gate alone, without the product that it would reset
        mask[f"recurrent.{name}"][model.recurrent.hidden_size :] = False
    stacked = StackedTrainer(find_form(model), [model], [mask], data, schedule_of(batch_size=4), [seed])
    alone = network_of("gru_s", seed)
    apart = Trainer(alone, FixedMask(alone, mask), data, schedule_of(batch_size=4), seed)
    _, checkpoints = train(stacked)
    assert len(checkpoints) == 2
    train(apart)
    assert_same_weights(stacked.weights()[0], apart.model.state_dict())


def test_an_iteration_of_a_stack_counts_for_each_of_its_seeds():
    class Counter(Meter):
        count = 0

        def done(self, iterations):
            self.count += iterations

    stacked, counter = stacked_of("lenet_300_100", 0.1, data_of(SIDES["lenet_300_100"])), Counter()
    stacked.advance(3, counter)
    assert counter.count == 3 * len(SEEDS)


@pytest.mark.parametrize("name", SIDES)
def test_a_gradient_lies_in_memory_as_its_weights_so_that_a_fused_optimizer_needs_no_copy(name):
    stacked = stacked_of(name, 0.1, data_of(SIDES[name]))
    stacked.step(*next(stacked.batches()))
    for block in stacked.stack.blocks:
        long = [axis for axis, size in enumerate(block.shape) if size > 1]  # the stride of one entry says nothing
        assert [block.grad.stride(axis) for axis in long] == [block.stride(axis) for axis in long]


@pytest.mark.parametrize("name", ["lenet_5_caffe", "lstm_s", "gru_s"])
def test_and_other_networks_by_adam(name):
    assert_same_end(name, 0.1, iterations=20, **ADAM)


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet_5_caffe", "lstm_s"])
def test_label_smoothing_changes_the_weights_with_and_without_autograd(name):
    data = data_of(SIDES[name])
    smoothed, plain = (stacked_of(name, 0.1, data, iterations=12, label_smoothing=each) for each in (0.3, 0.0))
    train(smoothed), train(plain)
    assert not torch.equal(smoothed.weights()[0][weight_of(name)], plain.weights()[0][weight_of(name)])
    assert_same_end(name, 0.1, iterations=12, label_smoothing=0.3)


def weight_of(name):
    """The name of the last layer's weight."""
    return [key for key in network_of(name, 0).state_dict() if key.endswith("weight")][-1]


def assert_same_end(name, kept, **changes):
    data = data_of(SIDES[name])
    stacked = stacked_of(name, kept, data, **changes)
    rows, _ = train(stacked)
    for apart, weights in zip(apart_of(name, kept, data, **changes), stacked.weights(), strict=True):
        alone, _ = train(apart)
        assert_same_weights(weights, apart.model.state_dict())
        for found, row in zip(without_times(rows[apart.seed]), without_times(alone[apart.seed]), strict=True):
            assert found == pytest.approx(row, rel=0, abs=1e-9)


def assert_same_weights(weights, expected):
    assert list(weights) == list(expected)
    for key, tensor in expected.items():
        torch.testing.assert_close(weights[key], tensor, rtol=0, atol=1e-9)


def test_pruned_weights_are_exactly_zero():
    data = data_of(8)
    stacked = stacked_of("lenet_300_100", 0.1, data)
    train(stacked)
    for weights, mask in zip(stacked.weights(), replicates("lenet_300_100", 0.1)[1], strict=True):
        assert all(not weights[name][~keep].any() and weights[name][keep].all() for name, keep in mask.items())


@pytest.mark.parametrize("name", ["lenet_300_100", "gru_s"])
def test_going_on_from_a_checkpoint_is_bit_for_bit_never_having_stopped(name):
    data = data_of(SIDES[name])
    changes = {"iterations": 23, "evaluate_every": 5, "checkpoint_every": 7}
    unbroken = stacked_of(name, 0.1, data, **changes)
    rows, checkpoints = train(unbroken)
    assert len(checkpoints) == 3
    for states in checkpoints:
        resumed = stacked_of(name, 0.1, data, **changes)
        resumed.load([states[seed] for seed in SEEDS])
        done = states[SEEDS[0]]["progress"]["iteration"]
        later, _ = train(resumed)
        for seed in SEEDS:
            assert without_times(later[seed]) == [row for row in without_times(rows[seed]) if row["iteration"] > done]
        for found, expected in zip(resumed.weights(), unbroken.weights(), strict=True):
            assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("optimizer", [{"momentum": 0.0}, {"momentum": 0.9}, ADAM], ids=str)
@pytest.mark.parametrize("name", ["lenet_300_100", "lenet_5_caffe", "lstm_s"])
def test_what_began_together_goes_on_apart_and_the_reverse(name, optimizer):
    data = data_of(SIDES[name])
    changes = {"iterations": 20, "checkpoint_every": 10, **optimizer}
    stacked = stacked_of(name, 0.1, data, **changes)
    _, [states] = train(stacked)
    begun_apart = []
    for apart, weights in zip(apart_of(name, 0.1, data, **changes), stacked.weights(), strict=True):
        _, [state] = train(apart)
        begun_apart.append(state[apart.seed])
        assert_same_weights(weights, apart.model.state_dict())
    for apart, weights in zip(apart_of(name, 0.1, data, **changes), stacked.weights(), strict=True):
        apart.load([states[apart.seed]])
        assert apart.iteration == 10
        train(apart)
        assert_same_weights(apart.model.state_dict(), weights)
    again = stacked_of(name, 0.1, data, **changes)
    again.load(begun_apart)
    train(again)
    for found, expected in zip(again.weights(), stacked.weights(), strict=True):
        assert_same_weights(found, expected)


def test_the_states_of_another_network_are_refused():
    _, [states] = train(stacked_of("lenet_300_100", 0.1, data_of(8), iterations=11))
    other = stacked_of("lstm_s", 0.1, data_of(6))
    with pytest.raises(RuntimeError):
        other.load([states[seed] for seed in SEEDS])


def spoiled(stacked, number):
    """The weights of one replicate grow until they overflow."""
    with torch.no_grad():
        for weight in stacked.stack.blocks:
            weight[number] *= 1e200
    return stacked


def test_a_replicate_that_diverges_takes_no_other_with_it():
    data = data_of(8)
    stacked = spoiled(stacked_of("lenet_300_100", 0.5, data, checkpoint_every=7), 1)
    rows, checkpoints = train(stacked)
    assert list(stacked.failed) == [SEEDS[1]]
    assert str(stacked.failed[SEEDS[1]]).startswith("The loss is not finite at iteration 1 (learning rate 0.1): lower")
    assert set(rows) == {SEEDS[0], SEEDS[2]}
    assert all(set(states) == {SEEDS[0], SEEDS[2]} for states in checkpoints)
    apart = apart_of("lenet_300_100", 0.5, data)
    for number in (0, 2):
        train(apart[number])
        assert_same_weights(stacked.weights()[number], apart[number].model.state_dict())


def test_where_all_diverge_the_error_is_the_first_ones():
    stacked = stacked_of("lenet_300_100", 0.5, data_of(8), seeds=SEEDS[:2])
    with pytest.raises(RunError, match="not finite at iteration 1 "):
        train(spoiled(spoiled(stacked, 0), 1))


def test_the_seconds_of_a_replicate_are_its_share():
    stacked = stacked_of("lenet_300_100", 0.1, data_of(8))
    train(stacked)
    assert sum(progress.seconds for progress in stacked.progress) == pytest.approx(stacked.seconds)
