"""The protocol: what every registered method declares, and that its YAML says the same."""

from dataclasses import fields

import pytest
import torch
from torch import nn

from snip_cli import registry
from snip_cli.config.composition import composer
from snip_cli.config.reading import load
from snip_cli.errors import ConfigError
from snip_cli.pruning.method import Gives, Stage, Start, find_method, register
from snip_cli.pruning.pruner import FixedMask

registry.load_builtin()
every_method = pytest.mark.parametrize("name", registry.methods.names())


def configured(name):
    with composer(None) as compose:
        return load(compose.compose([f"method={name}", "sparsity=0.5"])).method


@every_method
def test_the_yaml_holds_the_defaults_of_the_options(name):
    method = find_method(name)
    assert configured(name).options == {spec.name: spec.default for spec in fields(method.options)}


@every_method
def test_the_yaml_says_what_the_method_declares(name):
    method, section = find_method(name), configured(name)
    assert section.redraw == method.redraw
    assert section.trained == (method.starts_from is Start.TRAINED)


@every_method
def test_every_option_says_what_it_means(name):
    assert all(spec.metadata["meaning"] for spec in fields(find_method(name).options))


@every_method
def test_a_method_lies_in_the_folder_of_its_stage(name):
    method = find_method(name)
    assert method.function.__module__.startswith(f"snip_cli.pruning.{method.stage.value}.")
    assert (method.stage is Stage.DURING_TRAINING) == (method.gives is Gives.PRUNER)


def test_two_functions_cannot_share_a_name():
    @register("twice")
    def first(model, batches, loss, generator, options): ...

    with pytest.raises(ConfigError, match="method 'twice' is defined twice"):

        @register("twice")
        def second(model, batches, loss, generator, options): ...


@pytest.mark.parametrize(
    "gives, called",
    [
        (Gives.SCORES, "model, batches, loss, generator, options"),
        (Gives.MASK, "model, batches, loss, request, options"),
        (Gives.PRUNER, "model, plan, options"),
    ],
)
def test_a_function_that_cannot_be_called_as_it_will_be_is_refused_when_it_is_registered(gives, called):
    with pytest.raises(ConfigError) as refused:

        @register("short", gives=gives)
        def short(model, batches): ...

    assert f"'short' is defined as short(model, batches) and will be called as short({called}): " in str(refused.value)
    assert "short" not in registry.methods.names()


def test_a_fixed_mask_sets_pruned_parameters_to_zero_at_once_and_after_every_step():
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    pruner = FixedMask(model, {"weight": torch.tensor([[True, False]])})
    assert model.weight.tolist() == [[1, 0]]
    model.weight.data += 1
    pruner.after_step(1)
    assert model.weight.tolist() == [[2, 0]]
    assert (pruner.weights(), pruner.penalty(), pruner.parameter_groups(), pruner.state()) == (None, None, [], {})
