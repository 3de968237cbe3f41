"""Functions that were registered as methods in the way of earlier versions, by `registry.methods.register` alone."""

import pytest
import torch
import torch.nn.functional as F

from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.method import Gives, Stage, find_method
from snip_cli.run.python import prune


def registered(function):
    """The method of a plain function registered as `taylor`."""
    registry.methods.register("taylor")(function)
    return find_method("taylor")


def received(method, **values):
    """What a function that returns its options is given for some values."""
    return method.function(None, [], None, None, method.read_options(values))


def test_it_scores_at_initialisation():
    method = registered(lambda model, batches, loss, generator: {})
    assert (method.stage, method.gives, method.redraw, method.finds_sparsity) == (
        Stage.AT_INIT,
        Gives.SCORES,
        True,
        False,
    )


def test_its_scores_decide_on_the_mask_and_its_options_reach_it(network, batch):
    def scaled(model, batches, loss, generator, *, sign: float):
        return {name: sign * p.detach().abs() for name, p in prunable_parameters(model).items()}

    registered(scaled)
    mask = prune(network, batch, F.cross_entropy, method="taylor", sparsity=0.5, sign=1)
    magnitude = prune(network, batch, F.cross_entropy, method="magnitude", sparsity=0.5)
    assert all(torch.equal(mask[name], magnitude[name]) for name in magnitude)
    other = prune(network, batch, F.cross_entropy, method="taylor", sparsity=0.5, sign=-1.0)
    assert any(not torch.equal(mask[name], other[name]) for name in mask)


def test_an_annotation_fixes_an_options_type():
    def typed(model, batches, loss, generator, *, alpha: float = 1, count: int = 1.0, flag: bool = 0, word: str = 0):
        return {"alpha": alpha, "count": count, "flag": flag, "word": word}

    method = registered(typed)
    assert received(method, alpha=0.5, count=2, flag=True, word="a") == {
        "alpha": 0.5,
        "count": 2,
        "flag": True,
        "word": "a",
    }
    assert received(method, alpha=2)["alpha"] == 2
    wrong = [("alpha", True), ("alpha", "much"), ("count", 1.5), ("count", True), ("flag", 1), ("word", 3)]
    for name, value in wrong:
        with pytest.raises(ConfigError, match=f"method.{name} must be .*: got {value!r}"):
            method.read_options({name: value})


@pytest.mark.parametrize("value", [0.5, "word", None, True, [1, 2], {"a": 1}])
def test_the_value_of_an_option_without_such_an_annotation_is_not_checked(value):
    def untyped(model, batches, loss, generator, *, bare=1, layers: list = [], either: int | str = 1, text: "int" = 1):  # noqa: B006
        return {"bare": bare, "layers": layers, "either": either, "text": text}

    method = registered(untyped)
    for name in ("bare", "layers", "either", "text"):
        assert received(method, **{name: value})[name] is value


def test_an_option_that_is_not_given_has_the_functions_own_default():
    default = [1]

    def mutable(model, batches, loss, generator, *, layers: list = default):
        return {"layers": layers}

    assert received(registered(mutable))["layers"] is default


def test_an_option_without_default_must_be_given():
    def demanding(model, batches, loss, generator, *, power: float, layers, count: int = 3):
        return {"power": power, "layers": layers, "count": count}

    method = registered(demanding)
    assert received(method, power=2.5, layers=[0]) == {"power": 2.5, "layers": [0], "count": 3}
    with pytest.raises(ConfigError) as error:
        method.read_options({"layers": [0]})
    assert str(error.value) == (
        "method 'taylor' has no default for its option power: write power: VALUE in its YAML, or give +method.power=VALUE."
    )
    with pytest.raises(ConfigError, match="for its options power, layers: write"):
        method.read_options({"count": 2})


def test_an_unknown_option_is_refused():
    def powered(model, batches, loss, generator, *, power: float = 2.0):
        return {}

    with pytest.raises(ConfigError, match="method 'taylor' has no option 'pover' \\(did you mean 'power'\\?\\)"):
        registered(powered).read_options({"pover": 3})


def test_its_check_is_called_with_the_model_an_example_and_the_options_that_are_given(network):
    calls = []

    def checked(model, batches, loss, generator, *, power: float, base: float = 1.0):
        return {}

    checked.check = lambda *arguments, **options: calls.append((arguments, options))
    method = registered(checked)
    example = torch.empty(1, 1, 8, 8, device="meta")
    method.check(network, example, method.read_options({"power": 2.0}))
    assert calls == [((network, example), {"power": 2.0})]


def test_a_function_without_check_fits_every_model(network):
    method = registered(lambda model, batches, loss, generator: {})
    method.check(network, torch.empty(1, 1, 8, 8, device="meta"), method.read_options({}))


def test_an_option_may_be_called_steps():
    def stepping(model, batches, loss, generator, *, steps: int = 1):
        return {"steps": steps}

    assert received(registered(stepping), steps=3) == {"steps": 3}


def test_a_function_that_chooses_the_mask_itself_is_refused_with_the_form_of_today(network, batch):
    @registry.methods.register("whole")
    def whole(model, batches, loss, generator, sparsity, steps, *, power: float = 1.0): ...

    with pytest.raises(ConfigError) as error:
        find_method("whole")
    assert str(error.value) == (
        "method 'whole' takes sparsity and steps as parameters, as an earlier version asked for: write it as "
        "whole(model, batches, loss, request, options), read request.sparsity, request.steps and request.generator, "
        "and register it with @register('whole', gives=Gives.MASK) from snip_cli.pruning.method."
    )
    with pytest.raises(ConfigError, match="takes sparsity and steps"):
        prune(network, batch, F.cross_entropy, method="whole")
    # It does not stand in the way of other methods.
    with pytest.raises(
        ConfigError, match=r"sparsity=auto does not work with method 'snip'.*\(mint, snacs, sparse_vd, sws\)"
    ):
        prune(network, batch, F.cross_entropy, method="snip", sparsity="auto")


def test_a_function_with_another_number_of_parameters_is_refused():
    with pytest.raises(ConfigError, match=r"will be called as short\(model, batches, loss, generator\): too many"):

        def short(model, batches): ...

        registered(short)
