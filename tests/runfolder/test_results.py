"""Typed results: what is written is read again, and records of earlier versions are read too."""

import pytest

from snip_cli.runfolder.results import Environment, Evaluation, LayerCount, Metrics, SeedResult

KEYS = [
    *(
        "seed",
        "test_error",
        "test_error_best_of_last_5",
        "test_error_lowest_of_all",
        "val_error",
        "iterations",
        "learned",
    ),
    *("weights_total", "weights_kept", "sparse_megabytes", "effective_kept", "collapsed", "layers"),
    *("cost", "train_seconds", "prune_seconds"),
]


def evaluation(iteration, test_error, **more):
    return Evaluation(iteration, 0.1, 1.0, 1.5, 20.0, 1.6, test_error, **more)


def result(seed=0, errors=(9.0,)):
    layers = [LayerCount("fc1", 80, 10), LayerCount("fc2", 20, 15)]
    evaluations = [evaluation(place, error) for place, error in enumerate(errors, 1)]
    seconds = {"train_seconds": 1.23456, "prune_seconds": 0.1234567}
    return SeedResult.of_training(seed, evaluations, layers, **seconds, effective_kept=20)


def test_a_result_has_the_last_error_the_best_of_the_last_five_and_the_lowest_of_all():
    found = result(errors=(1.0, 9.0, 8.0, 2.0, 7.0, 6.0, 5.0))
    assert found.test_error == 5.0
    assert found.test_error_best_of_last_5 == 2.0
    assert found.test_error_lowest_of_all == 1.0
    assert (found.iterations, found.val_error) == (7, 20.0)
    assert (found.train_seconds, found.prune_seconds) == (1.235, 0.123457)


def test_what_is_written_is_read():
    metrics = Metrics("snip", "lenet_300_100", "mnist", 0.75, [result(0), result(1, (2.0, 4.0))])
    content = metrics.to_json()
    assert Metrics.from_json(content) == metrics
    assert list(content["seeds"][0]) == KEYS
    assert (content["total"], content["kept"], content["sparsity"], content["effective_sparsity"]) == (
        100,
        25,
        0.75,
        0.8,
    )
    assert content["layers"] == content["seeds"][0]["layers"] == [vars(layer) for layer in result().layers]
    assert (content["test_error_mean"], content["test_error_std"]) == (6.5, pytest.approx(12.5**0.5))


def test_a_record_of_an_earlier_version_is_read_by_its_old_names_and_without_what_it_lacks():
    old = {"seed": 3, "test_error": 2.0, "test_error_best": 1.5, "test_error_lowest": 1.0, "of_a_later_version": 1}
    found = SeedResult.from_json(old)
    assert found == SeedResult(3, 2.0, test_error_best_of_last_5=1.5, test_error_lowest_of_all=1.0)
    assert (found.sparsity, found.effective_sparsity, found.learned) == (None, None, None)


def test_an_evaluation_is_read_from_a_checkpoint_and_from_the_text_of_a_table():
    measured = evaluation(5, 12.5, train_error=3.0, images_per_second=100.0)
    assert Evaluation.from_json(measured.to_json()) == measured
    text = {name: str(value) for name, value in evaluation(5, 12.5).to_json().items()}
    assert Evaluation.from_json({**text, "train_error": "", "seed": "0"}) == evaluation(5, 12.5)


def test_an_environment_is_written_without_what_does_not_apply():
    made = Environment(command="snip-run", packages={"torch": "2.11"})
    assert Environment.from_json(made.to_json()) == made
    assert not {"weights", "earlier", "images_per_second"} & made.to_json().keys()
    assert made.to_json()["wall_seconds"] is None
