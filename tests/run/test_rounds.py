"""Methods that prune in rounds and train on: interrupted at any point, the same command goes on to the same bits; rounds are shared."""

import pytest
import torch

from snip_cli import registry
from snip_cli.commands.snip_run import main
from snip_cli.pruning.method import find_method
from snip_cli.runfolder import checkpoint
from tests.snip_run import QUICK

pytestmark = pytest.mark.usefixtures("small_lenet")
METHODS = [name for name in registry.methods.names() if find_method(name).rounds is not None]
# Two rounds: to about 0.2, and to 0.3.
COMMAND = [*QUICK, "method.rate=0.2", "++method.batch_size=50", "sparsity=0.3", "replicates=apart"]


def command(method, top, *more):
    return [*COMMAND, f"method={method}", f"output_dir={top}", *more]


def last_round(top, method, sparsity="0.3"):
    [found] = top.glob(f"{method}-*-s{sparsity}-*")
    return checkpoint.load(found)


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for seed in first:
        assert first[seed].keys() == second[seed].keys()
        assert all(torch.equal(first[seed][name], second[seed][name]) for name in first[seed])


class Interrupter:
    """Stands in for `checkpoint.save`: interrupts as soon as a checkpoint of the wanted run is saved."""

    def __init__(self, save, wanted):
        self.save, self.wanted = save, wanted

    def __call__(self, folder, saved):
        self.save(folder, saved)
        if self.wanted(folder.name) and saved.training:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_in_training_it_goes_on_to_the_same_bits(method, tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(command(method, whole)) == 0
    for wanted in (lambda name: name.startswith(method) and "-s0.3-" not in name, lambda name: "-s0.3-" in name):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", Interrupter(checkpoint.save, wanted))
            assert main(command(method, stopped)) == 130
    assert main(command(method, stopped)) == 0
    one, two = last_round(whole, method), last_round(stopped, method)
    assert_equal(one.masks, two.masks)
    assert_equal(one.weights, two.weights)


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_after_pruning_it_goes_on_to_the_same_bits(method, tmp_path, monkeypatch):
    """Before the first checkpoint only the mask is on disk: the new weights of a method that returns some are found again."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert main(command(method, whole)) == 0
    save_masks = checkpoint.save_masks

    def stop(folder, saved):
        save_masks(folder, saved)
        if "-s0.3-" in folder.name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_masks", stop)
        assert main(command(method, stopped)) == 130
    assert main(command(method, stopped)) == 0
    assert_equal(last_round(whole, method).weights, last_round(stopped, method).weights)


@pytest.mark.parametrize("method", METHODS)
def test_another_sparsity_shares_the_reference_and_the_rounds(method, tmp_path, capsys):
    assert main(command(method, tmp_path)) == 0
    made = set(tmp_path.iterdir())
    capsys.readouterr()
    assert main(command(method, tmp_path, "sparsity=0.32")) == 0
    assert capsys.readouterr().out.count(" is done already") == 2
    [new] = set(tmp_path.iterdir()) - made
    assert new.name.startswith(f"{method}-lenet_300_100-digits-s0.32-")


@pytest.mark.parametrize("method", [name for name in METHODS if find_method(name).rewind is None])
def test_weights_from_outside_are_refused(method, tmp_path, capsys):
    assert main([*QUICK, "sparsity=0", f"output_dir={tmp_path}"]) == 0
    [given] = tmp_path.glob("reference-*/checkpoint.pt")
    assert main(command(method, tmp_path, f"pretrained={given}")) == 2
    assert f"method '{method}' prunes in rounds, the first of which prunes its own reference" in capsys.readouterr().err
