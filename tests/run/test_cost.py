"""What a result cost: the iterations, prunings, hyperparameters and seconds of a run, its reference and its rounds."""

import json

import pytest

from snip_cli.commands.snip_run import main
from tests.snip_run import QUICK

pytestmark = pytest.mark.usefixtures("small_lenet")
DENSE = ["schedule@dense_schedule=quick", "dense_schedule.iterations=12"]
# Two rounds: to about 0.2, and to 0.3.
ROUNDS = [*DENSE, "method.rate=0.2", "sparsity=0.3"]


def cost_of(top, pattern):
    [path] = top.glob(f"{pattern}/metrics.json")
    content = json.loads(path.read_text())
    assert content["cost"] == content["seeds"][0]["cost"]
    return content["cost"]


def seconds_of(top, pattern):
    return [json.loads(path.read_text())["seeds"][0] for path in top.glob(f"{pattern}/metrics.json")]


def iterations(cost):
    return cost["iterations_before"], cost["iterations_during"], cost["iterations_after"], cost["prunings"]


@pytest.mark.parametrize(
    ("arguments", "expected", "hyperparameters"),
    [
        (["sparsity=0"], (0, 0, 8, 0), []),
        (["method=snip"], (0, 0, 8, 1), []),
        (["method=magnitude", "+method.trained=true", *DENSE], (12, 0, 8, 1), []),
        (["method=lwc", *ROUNDS], (12, 8, 8, 2), ["rate", "retrain_rate"]),
        (["method=l_obs", "method.batch_size=50", *ROUNDS], (12, 8, 8, 2), ["rate", "damping"]),
        (["method=imp", "method.rewind=3", *ROUNDS], (12, 5, 5, 2), ["scope", "rate", "output_rate", "rewind"]),
        (["method=gmp", "method.end=6", "method.every=2", "method.begin=1"], (3, 3, 2, 3), ["begin", "end", "every"]),
        (["method=synflow"], (0, 0, 8, 100), ["rounds"]),
        (["method=rigl", "method.every=2"], (0, 4, 4, 3), ["every", "fraction", "end", "densities"]),
        (["method=lc", "method.steps=2", *DENSE], (12, 8, 0, 3), ["steps", "mu", "growth"]),
        (["method=lc", "schedule.iterations=0", *DENSE], (12, 0, 0, 1), ["steps", "mu", "growth"]),
    ],
)
def test_the_iterations_of_each_stage_the_prunings_and_the_hyperparameters(
    arguments, expected, hyperparameters, tmp_path
):
    assert main([*QUICK, "replicates=apart", *arguments, f"output_dir={tmp_path}"]) == 0
    last = "*-s0.3-*" if "sparsity=0.3" in arguments else "reference-*" if "sparsity=0" in arguments else "*-s0.9-*"
    cost = cost_of(tmp_path, last)
    assert iterations(cost) == expected
    assert cost["hyperparameters"] == hyperparameters


def test_the_seconds_are_those_of_the_reference_the_rounds_and_the_run(tmp_path):
    assert main([*QUICK, "method=lwc", *ROUNDS, f"output_dir={tmp_path}"]) == 0
    cost = cost_of(tmp_path, "lwc-*-s0.3-*")
    [reference], [last] = seconds_of(tmp_path, "reference-*"), seconds_of(tmp_path, "lwc-*-s0.3-*")
    [first] = [found for found in seconds_of(tmp_path, "lwc-*") if found != last]
    assert cost["seconds_before"] == reference["train_seconds"]
    assert cost["seconds_during"] == first["train_seconds"]
    assert cost["seconds_after"] == last["train_seconds"]
    assert cost["seconds_pruning"] == pytest.approx(first["prune_seconds"] + last["prune_seconds"], abs=1e-3)


def test_the_seconds_of_a_method_that_prunes_while_it_trains_are_divided_by_iterations(tmp_path):
    assert main([*QUICK, "method=gmp", "method.end=6", "method.every=2", f"output_dir={tmp_path}"]) == 0
    cost, [result] = cost_of(tmp_path, "gmp-*"), seconds_of(tmp_path, "gmp-*")
    assert iterations(cost) == (2, 4, 2, 3)
    parts = [cost[f"seconds_{stage}"] for stage in ("before", "during", "after")]
    assert parts == pytest.approx([result["train_seconds"] * share for share in (0.25, 0.5, 0.25)], abs=2e-3)
    assert cost["seconds_pruning"] == 0


def test_what_came_before_weights_from_outside_is_not_known(tmp_path):
    assert main([*QUICK, "sparsity=0", f"output_dir={tmp_path}"]) == 0
    [given] = tmp_path.glob("reference-*/checkpoint.pt")
    command = [*QUICK, "method=magnitude", f"pretrained={given}", f"output_dir={tmp_path}"]
    assert main(command) == 0
    cost = cost_of(tmp_path, "magnitude-*")
    assert iterations(cost) == (None, 0, 8, 1)
    assert cost["seconds_before"] is None


def test_an_ancestor_of_an_earlier_version_counts_with_the_seconds_that_it_has(tmp_path):
    assert main([*QUICK, "sparsity=0", f"output_dir={tmp_path}"]) == 0
    [path] = tmp_path.glob("reference-*/metrics.json")
    content = json.loads(path.read_text())
    for entry in (content, content["seeds"][0]):
        del entry["cost"]
    path.write_text(json.dumps(content))
    command = [*QUICK, "method=magnitude", "+method.trained=true", f"output_dir={tmp_path}"]
    assert main(command) == 0
    assert cost_of(tmp_path, "magnitude-*")["seconds_before"] == content["seeds"][0]["train_seconds"]
    del content["seeds"][0]["train_seconds"]
    path.write_text(json.dumps(content))
    assert main([*command, "sparsity=0.8"]) == 0
    cost = cost_of(tmp_path, "magnitude-*-s0.8-*")
    assert (cost["iterations_before"], cost["seconds_before"]) == (8, None)
