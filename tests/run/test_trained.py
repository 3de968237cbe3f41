"""Methods that prune a trained network: the reference first, steps that are kept, mask, retraining, record."""

import json
import re

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snip_cli.commands.snip_run import main
from snip_cli.runfolder import checkpoint
from snip_cli.runfolder.steps import Steps
from tests.snip_run import QUICK

SNACS = [*QUICK, "method=snacs", "model=lenet_300_100", "method.groups=8", "method.samples_per_class=12"]
STEPS = ["activations", "limits-fc2", "limits-fc3", "scores-fc2", "scores-fc3"]


def snip_run(top, *arguments, of=SNACS):
    return main([*of, f"output_dir={top}", *arguments])


def folder(top, method="snacs"):
    [found] = top.glob(f"{method}-*")
    return found


def metrics(top, method="snacs"):
    return json.loads((folder(top, method) / "metrics.json").read_text())


def weights(top, method="snacs"):
    return checkpoint.load(folder(top, method)).weights[0]


@pytest.fixture
def computed(monkeypatch):
    """The names of the steps that were computed, not read."""
    names = []
    one = Steps._one

    def noting(self, name, compute):
        return one(self, name, lambda: (names.append(name), compute())[1])

    monkeypatch.setattr(Steps, "_one", noting)
    return names


def test_the_reference_is_trained_first_and_only_once(tmp_path, caplog):
    assert snip_run(tmp_path, "sparsity=auto") == 0
    reference = metrics(tmp_path, "reference")
    assert snip_run(tmp_path, "sparsity=0.3") == 0
    assert metrics(tmp_path, "reference") == reference
    assert len(list(tmp_path.glob("reference-*"))) == 1


def test_a_sweep_tells_of_the_network_that_it_prunes_and_shows_its_error(tmp_path, capsys):
    assert snip_run(tmp_path, "-m", "sparsity=0.2,0.3") == 0
    out = capsys.readouterr().out
    assert out.count("snacs needs its reference first\n") == 1
    assert out.count("snacs: its reference is done already") == 1
    assert "finished already" not in out
    _, _, table = out.partition("error (%)")
    assert table.count("\nreference ") == 1


def test_the_log_tells_what_was_computed_and_what_was_there(tmp_path):
    assert snip_run(tmp_path, "sparsity=0.2") == 0
    assert snip_run(tmp_path, "sparsity=0.3") == 0
    first, second = ((tmp_path / name / "run.log").read_text() for name in sorted(tmp_path.glob("snacs-*")))
    assert re.search(r"activations: \d+ s\n(.*\n)*.*scores: 2 of 2 layers, \d+ s\n", first)
    assert "activations: done already" in second
    assert "limits: 2 of 2 layers, 2 of them done already, 0 s" in second


def test_the_log_of_several_seeds_tells_whose_steps_they_are(tmp_path):
    assert snip_run(tmp_path, "sparsity=0.2", "seeds=2") == 0
    told = (folder(tmp_path) / "run.log").read_text()
    assert all(re.search(rf"seed {seed}, scores: 2 of 2 layers, \d+ s\n", told) for seed in (0, 1))


def test_the_reference_is_the_one_that_sparsity_0_trains(tmp_path):
    assert snip_run(tmp_path, "sparsity=0") == 0
    made = folder(tmp_path, "reference")
    assert snip_run(tmp_path, "sparsity=auto") == 0
    assert folder(tmp_path, "reference") == made


def test_retraining_starts_from_the_trained_weights_that_are_kept(tmp_path):
    source = tmp_path / "dense"
    assert snip_run(source, "sparsity=0") == 0
    trained = folder(source, "reference") / "checkpoint.pt"
    assert snip_run(tmp_path, "sparsity=auto", "schedule.iterations=0", f"pretrained={trained}") == 0
    mask = checkpoint.load(folder(tmp_path)).masks[0]
    dense = weights(source, "reference")
    for name, tensor in weights(tmp_path).items():
        assert torch.equal(tensor, dense[name] * mask[name])
    assert not mask["fc2.weight"].all()
    assert mask["fc1.weight"].all()


def test_more_seeds_of_the_run_that_the_weights_come_from_leave_finished_work_finished(tmp_path, capsys):
    assert snip_run(tmp_path, "sparsity=0") == 0
    prune = ["sparsity=auto", f"pretrained={folder(tmp_path, 'reference') / 'checkpoint.pt'}"]
    assert snip_run(tmp_path, *prune) == 0
    assert snip_run(tmp_path, "sparsity=0", "seeds=2") == 0
    capsys.readouterr()
    assert snip_run(tmp_path, *prune) == 0
    assert "finished already" in capsys.readouterr().out
    assert len(list(tmp_path.glob("snacs-*"))) == 1


def test_redraw_trains_new_weights_with_the_mask_of_the_trained_ones(tmp_path):
    assert snip_run(tmp_path / "a", "sparsity=auto", "method.redraw=true") == 0
    assert snip_run(tmp_path / "b", "sparsity=auto") == 0
    one, two = (checkpoint.load(folder(tmp_path / name)).masks[0] for name in "ab")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(weights(tmp_path / "a")["fc1.weight"], weights(tmp_path / "b")["fc1.weight"])


def test_redraw_trains_new_weights_where_the_trained_ones_come_from_a_file_too(tmp_path):
    assert snip_run(tmp_path, "sparsity=0") == 0
    given = ["sparsity=auto", "schedule.iterations=0", f"pretrained={folder(tmp_path, 'reference') / 'checkpoint.pt'}"]
    assert snip_run(tmp_path / "a", *given, "method.ablation=redraw") == 0
    assert snip_run(tmp_path / "b", *given) == 0
    mask = checkpoint.load(folder(tmp_path / "a")).masks[0]["fc2.weight"]
    started, dense = weights(tmp_path / "a")["fc2.weight"][mask], weights(tmp_path, "reference")["fc2.weight"][mask]
    assert not torch.isclose(started, dense).any()
    assert torch.equal(weights(tmp_path / "b")["fc2.weight"][mask], dense)


def test_redrawn_weights_are_not_those_that_the_trained_network_started_from(tmp_path):
    assert snip_run(tmp_path, "sparsity=0", "schedule.iterations=0") == 0
    first = weights(tmp_path, "reference")["fc2.weight"]
    trained = ["dense_schedule.iterations=8", "schedule@dense_schedule=quick", "schedule.iterations=0"]
    assert snip_run(tmp_path / "a", "sparsity=auto", *trained, "method.redraw=true") == 0
    mask = checkpoint.load(folder(tmp_path / "a")).masks[0]["fc2.weight"]
    assert not torch.isclose(weights(tmp_path / "a")["fc2.weight"][mask], first[mask]).any()


def test_a_scoring_method_can_prune_the_trained_network_too(tmp_path):
    arguments = ["method=magnitude", "+method.trained=true", "method.redraw=false", "sparsity=0.9"]
    assert snip_run(tmp_path, *arguments, of=QUICK) == 0
    mask = checkpoint.load(folder(tmp_path, "magnitude")).masks[0]
    dense = weights(tmp_path, "reference")
    flat = torch.cat([dense[name].abs().flatten() for name in mask])
    kept = torch.cat([keep.flatten() for keep in mask.values()])
    assert flat[kept].min() >= flat[~kept].max()


def test_what_is_kept_of_every_step(tmp_path):
    assert snip_run(tmp_path, "sparsity=auto") == 0
    [steps] = (folder(tmp_path) / "steps").iterdir()
    assert sorted(path.stem for path in steps.iterdir()) == STEPS
    told = json.loads((folder(tmp_path) / "pruning.json").read_text())["0"]
    assert set(told["layers"]) == {"fc2", "fc3"}
    for layer in told["layers"].values():
        assert layer["removed"] <= layer["limit"] + 1e-9
        assert len(layer["accuracy"]) == len(layer["grid"])
    assert told["sparsity_reached"] == pytest.approx(metrics(tmp_path)["sparsity"])


@pytest.mark.parametrize("stop", STEPS)
def test_after_a_stop_in_any_step_it_goes_on_with_that_step_to_the_same_mask(tmp_path, monkeypatch, computed, stop):
    assert snip_run(tmp_path / "whole", "sparsity=auto") == 0
    one = Steps._one

    def stopping(self, name, compute):
        def killed():
            raise KeyboardInterrupt

        return one(self, name, killed if name == stop else compute)

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "_one", stopping)
        assert snip_run(tmp_path / "stopped", "sparsity=auto") == 130
    computed.clear()
    assert snip_run(tmp_path / "stopped", "sparsity=auto") == 0
    assert computed[0] == stop
    order = ["activations", "scores-fc2", "scores-fc3", "limits-fc2", "limits-fc3"]
    assert computed == order[order.index(stop) :]
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_sweep_over_the_sparsity_repeats_no_step(tmp_path, computed):
    assert snip_run(tmp_path, "-m", "sparsity=auto,0.1,0.2") == 0
    assert sorted(computed) == STEPS
    assert len(list(tmp_path.glob("snacs-*/steps/*/activations.pt"))) == 3


def test_a_mask_of_steps_that_another_run_did_costs_what_they_cost(tmp_path):
    assert snip_run(tmp_path, "sparsity=auto") == 0
    for path in tmp_path.glob("snacs-*/steps/*/scores-fc2.pt"):
        torch.save(torch.load(path, weights_only=True) | {"seconds": 1e6}, path)
    assert snip_run(tmp_path, "sparsity=0.03") == 0
    assert metrics(tmp_path, "snacs-lenet_300_100-digits-s0.03")["seeds"][0]["prune_seconds"] > 1e6


def test_another_choice_of_scores_repeats_them(tmp_path, computed):
    assert snip_run(tmp_path, "-m", "sparsity=auto", "method.phi=weight,constant") == 0
    assert sorted(computed) == sorted([*STEPS, *STEPS])


def test_what_is_protected_and_how_much_a_limit_may_cost_repeat_no_step(tmp_path, computed):
    choices = ["method.protect=none,lowest", "method.protect_fraction=0.05,0.5", "method.limit_slack=0.7,0.1,0"]
    assert (
        snip_run(tmp_path, "-m", "sparsity=auto", "schedule.iterations=0", "schedule@dense_schedule=quick", *choices)
        == 0
    )
    assert sorted(computed) == STEPS
    assert len(list(tmp_path.glob("snacs-*/metrics.json"))) == 12


def test_limits_from_the_steps_of_another_run_are_those_that_a_run_finds_by_itself(tmp_path):
    tight = ["sparsity=auto", "method.limit_slack=0.05"]
    assert snip_run(tmp_path / "alone", *tight) == 0
    assert snip_run(tmp_path / "both", "sparsity=auto") == 0
    other = folder(tmp_path / "both")
    assert snip_run(tmp_path / "both", *tight) == 0
    [made] = [found for found in (tmp_path / "both").glob("snacs-*") if found != other]
    alone = folder(tmp_path / "alone")
    assert made.name == alone.name
    assert pruning(made)["layers"] == pruning(alone)["layers"]
    assert pruning(made)["layers"] != pruning(other)["layers"]


def pruning(run):
    return json.loads((run / "pruning.json").read_text())["0"]


def test_the_limits_that_an_earlier_version_kept_are_read(tmp_path, computed):
    assert snip_run(tmp_path / "new", "sparsity=auto") == 0
    [steps] = (folder(tmp_path / "new") / "steps").iterdir()
    for path in steps.glob("limits-*.pt"):  # with the limit at the default slack, which is not asked
        step = torch.load(path, weights_only=True)
        torch.save(step | {"result": step["result"] | {"limit": 0.123, "bound_by": "accuracy"}}, path)
    computed.clear()
    assert snip_run(tmp_path / "new", "sparsity=0.03") == 0
    assert computed == []
    limits = [pruning(found)["layers"]["fc2"]["limit"] for found in (tmp_path / "new").glob("snacs-*")]
    assert limits[0] == limits[1]


def test_mint_s_limit_repeats_no_tree(tmp_path, computed):
    mint = [word.replace("snacs", "mint") for word in SNACS]
    assert snip_run(tmp_path, "-m", "sparsity=auto", "method.upper_limit=0.9,0.5", of=mint) == 0
    assert sorted(computed) == ["activations", "scores-fc2", "scores-fc3"]


def test_a_sparsity_beyond_the_limits_is_reached_as_far_as_they_allow(tmp_path, caplog):
    assert snip_run(tmp_path, "sparsity=0.99") == 0
    found = metrics(tmp_path)
    assert found["sparsity_requested"] == 0.99
    assert found["sparsity"] < 0.2  # most weights of this network are those of the first layer, which stays
    assert any("sparsity=0.99 is more than the layers' limits allow: pruned to" in line for line in caplog.messages)


def test_a_sparsity_within_the_limits_is_not_exceeded(tmp_path):
    assert snip_run(tmp_path, "sparsity=0.03") == 0
    assert 0.02 < metrics(tmp_path)["sparsity"] <= 0.03


def test_tensorboard_shows_scores_limits_and_what_was_removed(tmp_path):
    assert snip_run(tmp_path, "sparsity=auto") == 0
    events = EventAccumulator(str(folder(tmp_path)))
    events.Reload()
    tags = events.Tags()
    shown = ("limit", "unpruned", "removed", "protected", "groups_cut_off", "density")
    assert {f"{name}/seed0" for name in shown} <= set(tags["scalars"])
    assert "scores/seed0" in tags["tensors"]


def test_the_dense_network_may_have_a_schedule_of_its_own(tmp_path):
    assert snip_run(tmp_path, "sparsity=auto", "schedule@dense_schedule=quick", "dense_schedule.iterations=4") == 0
    assert metrics(tmp_path, "reference")["seeds"][0]["iterations"] == 4
    assert metrics(tmp_path)["seeds"][0]["iterations"] == 8


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["schedule.iterations=0"],
            "and the schedule of the reference has 0 iterations: raise dense_schedule.iterations or",
        ),
        (["method.samples_per_class=2000"], "method.samples_per_class=2,000 is too large: class"),
        (
            ["method.samples_per_class=0", "method.batch_size=5000"],
            "is 5,000, but there are only 1,347 training images",
        ),
        (["model=lstm_s"], "choose another model"),
        (
            ["method=l1_filter", "~method.groups", "~method.samples_per_class"],
            "sparsity=auto does not work with method 'l1_filter'",
        ),
        (
            ["method=l1_filter", "~method.groups", "~method.samples_per_class", "model=lstm_s", "sparsity=0.5"],
            "only channels of plain convolutions and linear layers can be compared: choose another model",
        ),
        (["method.phi=wieght"], "method.phi must be constant, weight, weight_sq,"),
        (["pretrained=nowhere.pt"], "pretrained=nowhere.pt does not exist"),
        (["method.groups=-1"], "method.groups must be at least 0: got -1."),
        (["method.probe_classes=1"], "method.probe_classes must be at least 2: got 1."),
        (["method.protect_fraction=2.0"], "method.protect_fraction must be in [0, 1]: got 2.0."),
        (["pretrained=a", "model.weights=b"], "name different weights: leave one out"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(tmp_path, capsys, arguments, sentence):
    of = [word for word in SNACS if not ("l1" in arguments[0] and word.startswith("method."))]
    extra = [word for word in arguments if not word.startswith("~")]
    assert snip_run(tmp_path, "sparsity=auto", *extra, of=of) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in error
    assert not list(tmp_path.iterdir())


def test_weights_of_a_run_of_another_data_set_are_refused(tmp_path, capsys):
    assert snip_run(tmp_path, "sparsity=0") == 0
    trained = folder(tmp_path, "reference") / "checkpoint.pt"
    config = trained.parent / "config.yaml"
    config.write_text(config.read_text().replace("name: digits", "name: fashion_mnist"))
    assert snip_run(tmp_path, "sparsity=auto", f"pretrained={trained}") == 2
    assert (
        "was trained as lenet_300_100 on fashion_mnist, but this run is lenet_300_100 on digits"
        in capsys.readouterr().err
    )


def test_a_reference_without_its_weights_is_told_with_the_remedy(tmp_path, capsys):
    assert snip_run(tmp_path, "sparsity=0") == 0
    (folder(tmp_path, "reference") / "checkpoint.pt").unlink()
    assert snip_run(tmp_path, "sparsity=auto") == 2
    assert (
        "checkpoint.pt does not hold seed 0 (it holds: none): name another seed, or delete metrics.json"
        in capsys.readouterr().err
    )


def test_another_reference_of_the_same_settings_shares_no_step(tmp_path, computed):
    assert snip_run(tmp_path, "sparsity=auto") == 0
    made = folder(tmp_path, "reference") / "checkpoint.pt"
    content = torch.load(made, weights_only=True)
    content["weights"][0]["fc2.weight"] *= 1.5
    torch.save(content, made)
    computed.clear()
    assert snip_run(tmp_path, "sparsity=0.05") == 0
    assert sorted(computed) == STEPS
