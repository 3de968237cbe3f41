"""Which seeds train together, and in which form."""

from types import SimpleNamespace

import pytest
import torch

from snip_cli.config.composition import composer
from snip_cli.config.reading import load
from snip_cli.data.resident import ResidentSplit, normalisation
from snip_cli.data.splits import Data
from snip_cli.errors import ConfigError
from snip_cli.models.building import build_model, weightless_model
from snip_cli.pruning.method import find_method
from snip_cli.pruning.pruner import FixedMask
from snip_cli.runtime.processes import SINGLE_PROCESS, ProcessGroup
from snip_cli.training.choice import (
    Replicate,
    at_once,
    check_pruner,
    expects_sparse,
    find_form,
    group_by_iteration,
    shrinking_pays,
    side_by_side,
    training_of,
)
from snip_cli.training.sparse.trainer import SparseTrainer
from snip_cli.training.trainer import Trainer
from tests.training.stacked.test_trainer import data_of, mask_of, network_of

CPU = torch.device("cpu")


def data_on(device):
    """A split that the kernels can read, as far as its device goes."""
    images, labels = torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    split = ResidentSplit(images, labels, normalisation(torch.zeros(1), torch.ones(1), CPU, torch.float32))
    if device == CPU:
        return Data(split, split, split)
    elsewhere = SimpleNamespace(device=device)
    return Data(elsewhere, elsewhere, elsewhere)


def config_of(*overrides):
    with composer(None) as compose:
        return load(compose.compose(overrides))


def number(*overrides, device=CPU, group=SINGLE_PROCESS):
    config = config_of(*overrides)
    return at_once(config, weightless_model(config), data_on(device), group)


def at(iteration):
    return {"state": {"progress": {"iteration": iteration}}}


def test_seeds_that_stand_at_the_same_iteration_train_together():
    assert group_by_iteration([0, 1, 2, 3], {}, 20) == [[0, 1, 2, 3]]
    assert group_by_iteration([0, 1, 2, 3], {1: at(5), 3: at(5)}, 20) == [[0, 2], [1, 3]]
    assert group_by_iteration([0, 1, 2], {}, 2) == [[0, 1], [2]]
    assert group_by_iteration([0, 1, 2], {0: at(5)}, 1) == [[0], [1], [2]]


@pytest.mark.parametrize("model", ["lenet_300_100", "lenet_5_caffe", "lstm_b", "gru_s"])
def test_small_networks_can_train_together(model):
    assert number(f"model={model}", "replicates=stacked") > 1
    assert number(f"model={model}", "replicates=apart") == 1


@pytest.mark.parametrize("model", ["lenet_5_caffe", "lstm_s", "lstm_b"])
def test_auto_trains_apart_on_a_processor_what_is_faster_so(model):
    assert number(f"model={model}") == 1
    assert number(f"model={model}", device=torch.device("cuda")) > 1


@pytest.mark.parametrize(
    "overrides",
    [["model=lenet_300_100", "sparsity=0"], ["model=gru_s", "sparsity=0"], ["model=gru_b", "sparsity=0.3"]],
    ids=" ".join,
)
def test_auto_trains_together_on_a_processor_what_is_faster_so(overrides):
    assert number(*overrides) > 1


@pytest.mark.parametrize(
    ("overrides", "sparse"),
    [
        (["model=lenet_300_100", "sparsity=0.9"], True),
        (["model=lenet_300_100", "sparsity=0.3"], False),
        (["model=lenet_5_caffe", "sparsity=0.9"], True),
        (["model=lenet_5_caffe", "sparsity=0.7"], False),
        (["model=lstm_s", "sparsity=0.95"], True),
        (["model=gru_b", "sparsity=0.95"], True),
        (["model=lstm_s", "sparsity=0.3"], False),
        (["model=gru_s", "sparsity=0.3"], False),
        (["model=lenet_300_100", "sparsity=0.9", "compile=true"], False),
        (["model=lenet_300_100", "sparsity=0.9", "dtype=bfloat16"], False),
        (["model=lenet_300_100", "sparsity=0.9", "schedule.label_smoothing=0.1"], False),
        (["model=lstm_s", "sparsity=0.95", "schedule.label_smoothing=0.1"], False),
        (["model=lenet_300_100", "sparsity=0.9", "method=gmp"], False),
        (["model=vgg_d", "dataset=cifar10", "sparsity=0.95"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_pruned_networks_that_the_kernels_know_train_side_by_side_on_a_processor(overrides, sparse, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)

    def threads(*more, device=CPU):
        config = config_of(*overrides, *more)
        return side_by_side(config, weightless_model(config), data_on(device), SINGLE_PROCESS)

    assert threads() == (3 if sparse else 1)
    assert threads("replicates=apart") == 1
    assert threads(device=torch.device("cuda")) == 1


@pytest.mark.parametrize("method", ["snacs", "mint", "l1_filter"])
def test_a_method_that_may_keep_more_than_kappa_is_not_expected_to_leave_few_weights(method, monkeypatch):
    """Its masks decide later, so its seeds train one by one."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    config = config_of("model=lenet_300_100", f"method={method}", "sparsity=0.9")
    model, data = weightless_model(config), data_on(CPU)
    assert not expects_sparse(config, model, data, SINGLE_PROCESS)
    assert side_by_side(config, model, data, SINGLE_PROCESS) == at_once(config, model, data, SINGLE_PROCESS) == 1


@pytest.mark.parametrize(("kept", "kind"), [(1.0, Trainer), (0.9, Trainer), (0.02, SparseTrainer)])
def test_one_network_trains_with_its_kept_weights_alone_where_they_are_few(kept, kind):
    config = config_of("model=lenet_300_100")
    model = build_model(config)
    replicate = Replicate(0, model, FixedMask(model, mask_of(model, 0, kept)))
    assert type(training_of(config, [replicate], data_on(CPU), SINGLE_PROCESS)) is kind


@pytest.mark.parametrize(
    ("overrides", "device", "sparse"),
    [
        (["model=vgg_d", "sparsity=0.95"], "cpu", True),
        (["model=vgg_d", "sparsity=0.95", "schedule.label_smoothing=0.1"], "cpu", True),
        (["model=wrn_16_8", "sparsity=0.95", "replicates=apart"], "cpu", True),
        (["model=vgg_d", "sparsity=0.5"], "cpu", False),
        (["model=vgg_d", "sparsity=0.95"], "cuda", False),
        (["model=vgg_d", "sparsity=0.95", "dtype=bfloat16"], "cpu", False),
        (["model=vgg_d", "sparsity=0.95", "method=gmp"], "cpu", False),
        (["model=resnet56", "sparsity=0.95"], "cpu", False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_network_with_batch_norm_trains_layer_by_layer_on_a_processor(overrides, device, sparse):
    config = config_of("dataset=cifar10", *overrides)
    data = data_on(torch.device(device))
    assert expects_sparse(config, weightless_model(config), data, SINGLE_PROCESS) is sparse
    assert side_by_side(config, weightless_model(config), data, SINGLE_PROCESS) == 1


@pytest.mark.parametrize(("kept", "engine"), [(0.05, "sparse"), (0.9, "masked")])
def test_the_mask_decides_on_the_form_of_a_network_with_batch_norm(kept, engine):
    config = config_of("dataset=cifar10", "model=vgg_d", "schedule.batch_size=2")
    model = build_model(config)
    replicate = Replicate(0, model, FixedMask(model, mask_of(model, 0, kept)))
    assert training_of(config, [replicate], data_on(CPU), SINGLE_PROCESS).engine == engine


@pytest.mark.parametrize(
    ("name", "device", "taken_out"),
    [
        ("gru_s", "cpu", False),
        ("gru_s", "cuda", False),
        ("lenet_5_caffe", "cpu", False),
        ("lenet_5_caffe", "cuda", True),
    ],
)
def test_dead_units_are_taken_out_on_a_gpu_where_pytorch_has_no_fast_layer(name, device, taken_out):
    model = network_of(name, 0)
    assert shrinking_pays(find_form(model), mask_of(model, 0, 0.001), torch.device(device)) is taken_out


@pytest.mark.parametrize(
    "overrides, group",
    [
        (["model=vgg_d", "dataset=cifar10"], SINGLE_PROCESS),
        (["dtype=bfloat16"], SINGLE_PROCESS),
        (["compile=true"], SINGLE_PROCESS),
        ([], ProcessGroup(0, 2)),
    ],
    ids=["batch-norm", "bfloat16", "compiled", "two processes"],
)
def test_what_cannot_train_together_trains_apart_and_says_so_where_it_was_asked_for(overrides, group):
    assert number(*overrides, group=group) == 1
    with pytest.raises(ConfigError, match="use replicates=auto"):
        number(*overrides, "replicates=stacked", group=group)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "compile=true",
            "compile=true is for a fixed mask, and method 'gmp' changes the mask during training: leave it out.",
        ),
        (
            "replicates=stacked",
            "replicates=stacked is for fixed masks, and method 'gmp' changes the mask during training: use replicates=auto.",
        ),
    ],
)
def test_what_needs_a_fixed_mask_is_refused_for_a_method_that_changes_it(override, sentence):
    with pytest.raises(ConfigError) as error:
        check_pruner(config_of("method=gmp", override), find_method("gmp"))
    assert str(error.value) == sentence
    for fits in (["method=gmp"], ["method=gmp", override, "sparsity=0"], ["method=snip", override]):
        config = config_of(*fits)
        check_pruner(config, find_method(config.method.name))


def test_seeds_whose_mask_changes_train_apart_and_their_reference_as_always():
    assert number("method=gmp") == 1
    assert number("method=gmp", "sparsity=0") > 1


def test_one_network_whose_mask_changes_keeps_its_dead_units():
    model = network_of("lenet_300_100", 0)
    replicate = Replicate(0, model, FixedMask(model, mask_of(model, 0, 0.02)))
    config = config_of("model=lenet_300_100", "method=gmp")
    assert type(training_of(config, [replicate], data_of(8), SINGLE_PROCESS)) is Trainer
