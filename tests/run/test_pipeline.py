"""What one run leaves in its folder, and what the same command does the second time."""

import csv
import json
from dataclasses import replace

import pytest
import torch
import yaml

from snip_cli.commands.snip_run import main
from snip_cli.config import reading as configuration
from snip_cli.data.loading import load_data
from snip_cli.models.lenet import lenet_300_100
from snip_cli.runfolder import checkpoint
from snip_cli.runfolder.results import SeedResult
from tests.snip_run import only_run, read_metrics, run_quick

SECONDS = ("train_seconds", "prune_seconds")
ERRORS = ("test_error", "test_error_best_of_last_5", "test_error_lowest_of_all")
WEIGHTS = ("weights_total", "weights_kept", "sparse_megabytes")
PATHS = ("effective_kept", "collapsed")


def metrics_of(folder):
    return read_metrics(folder)


def without_seconds(metrics):
    """The metrics without what differs from one machine and day to another."""
    if isinstance(metrics, list):
        return [without_seconds(one) for one in metrics]
    if not isinstance(metrics, dict):
        return metrics
    return {key: without_seconds(value) for key, value in metrics.items() if "seconds" not in key}


def test_a_run_leaves_its_files_and_no_others(tmp_path):
    folder = run_quick(tmp_path)
    [events] = folder.glob("events.out.tfevents.*")
    names = {path.name for path in folder.iterdir()} - {events.name, ".lock"}
    assert names == {"config.yaml", "env.json", "run.log", "metrics.csv", "mask.pt", "checkpoint.pt", "metrics.json"}
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_the_folder_name_can_be_read(tmp_path):
    assert run_quick(tmp_path, "sparsity=0.95").name.startswith("snip-lenet_300_100-digits-s0.95-seed0-")


def test_metrics_json(tmp_path):
    metrics = metrics_of(run_quick(tmp_path, "sparsity=0.95", "seeds=2"))
    assert (metrics["method"], metrics["model"], metrics["dataset"]) == ("snip", "lenet_300_100", "digits")
    assert metrics["sparsity_requested"] == 0.95
    assert (metrics["total"], metrics["kept"]) == (266_610, 13_331)
    assert metrics["sparsity"] == pytest.approx(1 - 13_331 / 266_610)
    assert [layer["name"] for layer in metrics["layers"]] == ["fc1", "fc2", "fc3"]
    assert [layer["total"] for layer in metrics["layers"]] == [235_500, 30_100, 1_010]
    assert sum(layer["kept"] for layer in metrics["layers"]) == 13_331
    first, second = metrics["seeds"]
    of_training = {"seed", "val_error", "iterations", "learned", "layers", "cost"}
    assert set(first) == {*of_training, *ERRORS, *WEIGHTS, *PATHS, *SECONDS}
    assert (first["seed"], second["seed"], first["iterations"]) == (0, 1, 8)
    assert first["layers"] == metrics["layers"]
    errors = torch.tensor([first["test_error"], second["test_error"]], dtype=torch.float64)
    assert metrics["test_error_mean"] == pytest.approx(errors.mean().item())
    assert metrics["test_error_std"] == pytest.approx(errors.std().item())


def test_the_effective_sparsity_leaves_out_what_is_on_no_path(tmp_path):
    folder = run_quick(tmp_path, "method=random", "sparsity=0.99", "seeds=2")
    metrics = metrics_of(folder)
    masks = torch.load(folder / "mask.pt", weights_only=True)
    for result in metrics["seeds"]:
        mask = masks[result["seed"]]
        first, second, third = (mask[f"fc{i}.weight"].double() for i in (1, 2, 3))
        reached = [first.sum(dim=1), (second @ first).sum(dim=1), (third @ second @ first).sum(dim=1)]
        leading = [(third @ second).sum(dim=0), third.sum(dim=0), torch.ones(10)]
        counted = sum(int((mask[f"fc{i + 1}.bias"] & (reached[i] > 0) & (leading[i] > 0)).sum()) for i in range(3))
        for weight, source, ends in zip((first, second, third), [torch.ones(784), *reached], leading, strict=False):
            counted += int((weight * (source > 0) * (ends > 0)[:, None]).sum())
        assert result["effective_kept"] == counted
        assert result["collapsed"] == []
    assert metrics["effective_sparsity"] == 1 - metrics["seeds"][0]["effective_kept"] / 266_610
    assert metrics["effective_sparsity"] > metrics["sparsity"]


def test_a_network_that_is_cut_through_is_told_and_trained_all_the_same(tmp_path, capsys):
    metrics = metrics_of(run_quick(tmp_path, "method=random", "sparsity=0.9999", "seeds=2"))
    said = capsys.readouterr()
    for result in metrics["seeds"]:
        assert (result["effective_kept"], result["collapsed"]) == (0, ["fc1", "fc2", "fc3"])
        assert f"seed {result['seed']}: no kept path connects input and output" in said.out + said.err
    assert metrics["effective_sparsity"] == 1


def test_results_of_a_version_that_told_less_are_read_and_added_to(tmp_path):
    folder = run_quick(tmp_path)
    metrics = metrics_of(folder)
    old = {key: value for key, value in metrics["seeds"][0].items() if key not in (*PATHS, "learned")}
    checkpoint.save(folder, replace(checkpoint.load(folder), results={0: SeedResult.from_json(old)}))
    del metrics["effective_sparsity"]
    (folder / "metrics.json").write_text(json.dumps({**metrics, "seeds": [old]}))
    grown = metrics_of(run_quick(tmp_path, "seeds=2"))
    assert grown["effective_sparsity"] is None
    assert grown["seeds"][1]["effective_kept"] <= grown["kept"]


def test_one_seed_has_no_standard_deviation(tmp_path):
    assert metrics_of(run_quick(tmp_path))["test_error_std"] is None


def test_metrics_csv_has_a_row_an_evaluation_and_the_last_is_the_result(tmp_path):
    folder = run_quick(tmp_path, "seeds=2", "schedule.iterations=10")
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], row["iteration"]) for row in rows] == [(s, i) for s in "01" for i in ("4", "8", "10")]
    assert float(rows[2]["test_error"]) == metrics_of(folder)["seeds"][0]["test_error"]


@pytest.mark.parametrize("replicates", ["stacked", "apart"])
def test_the_error_on_the_training_images_is_evaluated_where_it_is_asked_for(replicates, tmp_path):
    folder = run_quick(tmp_path, f"replicates={replicates}", "schedule.train_error=true", "seeds=2")
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert [row["iteration"] for row in rows] == ["4", "8", "4", "8"]
    train = load_data(configuration.read(folder / "config.yaml").dataset, torch.device("cpu"), torch.float32).train
    [(images, labels)] = train.selected([torch.arange(len(train))])
    model = lenet_300_100((1, 28, 28), 10)
    for seed, row in enumerate(rows[1::2]):
        model.load_state_dict(torch.load(folder / "checkpoint.pt", weights_only=True)["weights"][seed])
        wrong = (model(images).argmax(dim=1) != labels).double().mean().item()
        assert float(row["train_error"]) == pytest.approx(100 * wrong)


def learned(folder):
    return [result["learned"] for result in metrics_of(folder)["seeds"]]


@pytest.mark.parametrize("replicates", ["stacked", "apart"])
def test_a_seed_that_learns_nothing_is_told_and_recorded(replicates, tmp_path, capsys):
    more = ["seeds=2", "schedule.iterations=20", f"replicates={replicates}"]
    assert learned(run_quick(tmp_path / "at_all", *more)) == [True, True]
    assert "has learned nothing" not in capsys.readouterr().out
    assert learned(run_quick(tmp_path / "nothing", *more, "schedule.learning_rate=1e-9")) == [False, False]
    assert capsys.readouterr().out.count("has learned nothing: its training loss is 2.") == 2


def test_of_a_network_that_is_cut_through_no_other_start_is_advised(tmp_path, capsys):
    folder = run_quick(tmp_path, "method=random", "sparsity=0.9999", "schedule.iterations=20")
    assert learned(folder) == [False]
    assert "has learned nothing" not in capsys.readouterr().out


def test_of_less_than_all_training_images_nothing_is_said_of_learning(tmp_path):
    assert learned(run_quick(tmp_path, "schedule.learning_rate=1e-9", "schedule.iterations=4")) == [None]


def test_no_iterations_prune_and_evaluate_and_train_nothing(tmp_path):
    folder = run_quick(tmp_path, "schedule.iterations=0")
    [row] = csv.DictReader((folder / "metrics.csv").open())
    assert (row["iteration"], row["train_loss"]) == ("0", "nan")
    assert metrics_of(folder)["seeds"][0]["test_error"] == float(row["test_error"])


def test_the_best_of_the_last_five_evaluations_and_the_lowest_of_all(tmp_path):
    folder = run_quick(tmp_path, "schedule.iterations=8", "schedule.evaluate_every=1")
    with (folder / "metrics.csv").open() as file:
        errors = [float(row["test_error"]) for row in csv.DictReader(file)]
    [seed] = metrics_of(folder)["seeds"]
    assert seed["test_error"] == errors[-1]
    assert seed["test_error_best_of_last_5"] == min(errors[-5:])
    assert seed["test_error_lowest_of_all"] == min(errors)


def test_the_checkpoint_of_a_finished_run_holds_weights_and_no_optimizer_state(tmp_path):
    folder = run_quick(tmp_path)
    content = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert set(content) == {"format", "run", "weights", "results"}
    assert "training" not in content
    mask = torch.load(folder / "mask.pt", weights_only=True)[0]
    for name, keep in mask.items():
        assert keep.dtype is torch.bool
        assert not content["weights"][0][name][~keep].any()


def test_env_json_tells_versions_machine_and_command(tmp_path):
    env = json.loads((run_quick(tmp_path) / "env.json").read_text())
    assert env["packages"]["torch"] == torch.__version__.split("+")[0] or env["packages"]["torch"] == torch.__version__
    assert env["device"].startswith("cpu")
    assert env["wall_seconds"] > 0
    assert {"commit", "dirty", "command", "started", "host", "python"} <= set(env)


def test_the_same_command_skips_a_finished_run(tmp_path, capsys):
    folder = run_quick(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name not in ("run.log", ".lock")}
    assert run_quick(tmp_path) == folder
    assert "finished already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_finished_run_of_another_commit_is_used_and_said_so(tmp_path, capsys):
    folder = run_quick(tmp_path)
    env = json.loads((folder / "env.json").read_text())
    (folder / "env.json").write_text(json.dumps({**env, "commit": "f" * 40}))
    run_quick(tmp_path)
    said = capsys.readouterr().out
    assert ("by commit fffffffff" in said) == (env["commit"] is not None)


def test_more_seeds_add_the_missing_ones(tmp_path):
    # Trained together they differ from this by rounding.
    folder = run_quick(tmp_path / "grown", "seeds=1", "replicates=apart")
    first = metrics_of(folder)["seeds"][0]
    assert run_quick(tmp_path / "grown", "seeds=3", "replicates=apart") == folder
    grown = metrics_of(folder)
    assert grown["seeds"][0] == first
    at_once = metrics_of(run_quick(tmp_path / "at_once", "seeds=3", "replicates=apart"))
    assert without_seconds(grown) == without_seconds(at_once)
    assert sorted(torch.load(folder / "mask.pt", weights_only=True)) == [0, 1, 2]
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert (folder / "metrics.csv").read_text() == (only_run(tmp_path / "at_once") / "metrics.csv").read_text()


def test_a_replicate_is_the_run_with_that_first_seed(tmp_path):
    many = metrics_of(run_quick(tmp_path / "many", "seeds=2"))
    one = metrics_of(run_quick(tmp_path / "one", "seed=1"))
    assert without_seconds(many)["seeds"][1] == without_seconds(one)["seeds"][0]


def test_the_reference_is_one_run_for_all_methods(tmp_path):
    folders = [run_quick(tmp_path, "sparsity=0", f"method={name}") for name in ("snip", "random", "magnitude")]
    assert len(set(folders)) == 1
    assert folders[0].name.startswith("reference-lenet_300_100-digits-seed0-")
    metrics = metrics_of(folders[0])
    assert metrics["kept"] == metrics["total"] == metrics["seeds"][0]["effective_kept"]
    assert metrics["sparsity"] == metrics["effective_sparsity"] == 0


def test_random_labels_are_trained_on_and_the_mask_is_that_of_the_true_ones(tmp_path):
    true, random = (
        run_quick(tmp_path / word, f"dataset.random_labels={word}", "schedule.iterations=300", "replicates=apart")
        for word in ("false", "true")
    )
    masks = [torch.load(folder / "mask.pt", weights_only=True)[0] for folder in (true, random)]
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])
    assert metrics_of(true)["test_error_mean"] < 30
    assert metrics_of(random)["test_error_mean"] > 70


def test_label_smoothing_changes_the_training_and_not_the_mask(tmp_path):
    plain, smoothed = (
        run_quick(tmp_path / word, f"schedule.label_smoothing={word}", "model=lenet_300_100") for word in ("0", "0.3")
    )
    masks, weights = (
        [torch.load(folder / name, weights_only=True) for folder in (plain, smoothed)]
        for name in ("mask.pt", "checkpoint.pt")
    )
    assert all(torch.equal(masks[0][0][name], masks[1][0][name]) for name in masks[0][0])
    one, other = (saved["weights"][0]["fc1.weight"] for saved in weights)
    assert not torch.equal(one, other)


def test_methods_train_from_the_same_weights(tmp_path, monkeypatch):
    """Whatever is pruned, a seed's trained weights and batches are the same draws; only the mask differs."""
    from snip_cli.training.trainer import Trainer

    starts = []
    monkeypatch.setattr("snip_cli.training.choice.find_form", lambda model: None)  # nothing is taken out
    step = Trainer.step

    def first_step(self, images, labels):
        starts.append((self.model.fc1.weight.detach().clone(), images))
        return step(self, images, labels)

    monkeypatch.setattr(Trainer, "step", first_step)
    for number, name in enumerate(("snip", "random", "magnitude")):
        run_quick(tmp_path / str(number), f"method={name}", "schedule.iterations=1", "sparsity=0.5")
    run_quick(tmp_path / "reference", "sparsity=0", "schedule.iterations=1")
    *pruned, (full, batch) = starts
    for weights, images in pruned:
        kept = weights != 0
        assert torch.equal(weights[kept], full[kept])
        assert torch.equal(images, batch)


def test_eval_evaluates_a_finished_run_again(tmp_path, capsys):
    folder = run_quick(tmp_path, "seeds=2")
    capsys.readouterr()
    assert main([f"eval={folder}"]) == 0
    said = capsys.readouterr().out.splitlines()
    for line, seed in zip(said, metrics_of(folder)["seeds"], strict=True):
        error = f"{seed['test_error']:.2f} %"
        assert line.startswith(f"seed {seed['seed']}: test error {error} (recorded: {error})")


def test_eval_refuses_a_folder_that_is_no_finished_run(capsys):
    assert main(["eval=nowhere"]) == 2
    assert "nowhere holds no finished run" in capsys.readouterr().err


def test_eval_refuses_what_it_would_not_heed(tmp_path, capsys):
    folder = run_quick(tmp_path)
    assert main([f"eval={folder}", "device=cpu", "sparsity=0.5", "compact=true"]) == 2
    assert (
        "would ignore sparsity=0.5 compact=true: leave out all settings but device and dataset.root"
        in capsys.readouterr().err
    )


def test_config_yaml_is_the_resolved_configuration(tmp_path):
    folder = run_quick(tmp_path, "sparsity=0.95")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["sparsity"] == 0.95
    assert config["schedule"]["milestones"] == [225]
    assert config["method"]["accumulate"] == "sum"
    assert "$" not in (folder / "config.yaml").read_text()
