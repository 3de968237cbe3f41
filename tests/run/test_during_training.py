"""Runs whose mask changes while they train: what they leave, and what they refuse before any work."""

import json

import pytest
import torch

from snip_cli.commands.snip_run import main
from snip_cli.run import pipeline
from snip_cli.runfolder import checkpoint
from snip_cli.runfolder.record import read_metrics
from tests.snip_run import QUICK, run_quick, train_until_checkpoint

GMP = ["method=gmp", "method.every=2", "sparsity=0.9"]


def test_mask_results_and_weights_are_those_of_the_final_mask(tmp_path, capsys):
    folder = run_quick(tmp_path, *GMP, "seeds=2")
    metrics, saved = read_metrics(folder), checkpoint.load(folder)
    kept = round(sum(layer.total for layer in metrics.seeds[0].layers) * 0.1)
    for result in metrics.seeds:
        mask, weights = saved.masks[result.seed], saved.weights[result.seed]
        assert sum(int(keep.sum()) for keep in mask.values()) == kept
        assert sum(layer.kept for layer in result.layers) == kept
        assert result.effective_kept <= kept
        assert all(not weights[name][~keep].any() for name, keep in mask.items())
        assert all(keep.all() for name, keep in mask.items() if keep.dim() == 1)
    assert not all(torch.equal(keep, saved.masks[1][name]) for name, keep in saved.masks[0].items())
    capsys.readouterr()
    assert main([f"eval={folder}"]) == 0
    for line, result in zip(capsys.readouterr().out.splitlines(), metrics.seeds, strict=True):
        error = f"{result.test_error:.2f} %"
        assert line.count(error) == 2


def test_a_method_that_finds_the_sparsity_keeps_its_biases_too_where_a_number_is_given(tmp_path, capsys):
    assert main([*QUICK, "method=sparse_vd", "sparsity=0.999", f"output_dir={tmp_path}"]) == 2
    assert "but method 'sparse_vd' keeps all 410 biases: choose at most 0.99846" in capsys.readouterr().err


@pytest.mark.parametrize(("sparsity", "kept"), [("auto", None), ("0.9", 26661)])
def test_metrics_json_has_what_a_method_found_beside_what_was_asked_for(sparsity, kept, tmp_path):
    folder = run_quick(tmp_path, "method=sparse_vd", f"sparsity={sparsity}")
    content = json.loads((folder / "metrics.json").read_text())
    facts = content["seeds"][0]["facts"]
    assert set(facts) == {"val_error_before_finish", "test_error_before_finish", "kept_found", "sparsity_found"}
    assert content["kept"] == (kept or facts["kept_found"])
    assert read_metrics(folder).seeds[0].facts == facts


@pytest.mark.parametrize(("optimizer", "warned"), [("sgd", True), ("adam", False)])
def test_a_method_that_was_published_with_adam_warns_of_another_optimizer(optimizer, warned, tmp_path, caplog):
    rate = ["schedule.momentum=0", "schedule.learning_rate=0.001"]
    run_quick(tmp_path, "method=sparse_vd", f"schedule.optimizer={optimizer}", *rate)
    assert ("sparse_vd was published with Adam, and schedule.optimizer is sgd" in caplog.text) == warned


def test_metrics_json_has_no_facts_of_a_method_that_reports_none(tmp_path):
    folder = run_quick(tmp_path, *GMP)
    assert "facts" not in json.loads((folder / "metrics.json").read_text())["seeds"][0]


def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path):
    folders = [tmp_path / "whole", tmp_path / "broken"]
    train_until_checkpoint([*QUICK, *GMP, f"output_dir={folders[1]}"], folders[1])
    whole, broken = (checkpoint.load(run_quick(folder, *GMP)) for folder in folders)
    for part in ("masks", "weights"):
        for name, tensor in getattr(whole, part)[0].items():
            assert torch.equal(getattr(broken, part)[0][name], tensor)


def test_at_sparsity_0_there_is_nothing_to_change(tmp_path):
    assert run_quick(tmp_path, *GMP, "sparsity=0") == run_quick(tmp_path, "method=snip", "sparsity=0")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("compile=true", "compile=true is for a fixed mask"),
        ("replicates=stacked", "replicates=stacked is for fixed masks"),
        ("method.end=9", "method.end=9 is after the last of the schedule's 8 iterations"),
        ("method.begin=4", "method.begin=4 must be below the iteration that reaches the sparsity, which is 4 here"),
        ("sparsity=auto", "sparsity=auto does not work with method 'gmp'"),
        ("sparsity=0.999", "but method 'gmp' keeps all 410 biases: choose at most 0.99846"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence_before_any_work(setting, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "load_data", lambda *_: pytest.fail("data was loaded"))
    assert main([*QUICK, *GMP, setting, f"output_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
