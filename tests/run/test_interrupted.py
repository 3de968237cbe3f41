"""A run of a method that stops at a checkpoint and goes on ends with the bits of one that never stopped."""

import pytest
import torch

from snip_cli import registry
from snip_cli.commands.snip_run import main
from snip_cli.pruning.method import Stage, find_method
from snip_cli.runfolder import checkpoint
from tests.snip_run import QUICK

registry.load_builtin()
AT_INIT = [name for name in registry.methods.names() if find_method(name).stage is Stage.AT_INIT]
# Of the other stages; the digits make an epoch of 1,347 images.
OTHERS = {"lamp": [], "rigl": ["method.every=2", "method.fraction=0.5"], "set": ["schedule.batch_size=400"]}


@pytest.fixture
def interrupted(monkeypatch):
    """Functions that make the run of a method stop right after its first checkpoint, and that let it go on."""
    save = checkpoint.save

    def stop(method):
        def save_and_stop(folder, saved):
            save(folder, saved)
            if saved.training and folder.name.startswith(f"{method}-"):
                raise KeyboardInterrupt

        monkeypatch.setattr(checkpoint, "save", save_and_stop)

    return stop, lambda: monkeypatch.setattr(checkpoint, "save", save)


@pytest.mark.parametrize("method", [*AT_INIT, *OTHERS])
def test_masks_and_weights_are_those_of_a_run_that_never_stopped(method, interrupted, tmp_path, capsys):
    stop, go_on = interrupted
    command = [*QUICK, f"method={method}", "model=lenet_300_100", "sparsity=0.95", *OTHERS.get(method, [])]
    whole, broken = ([*command, f"output_dir={tmp_path / name}"] for name in ("whole", "broken"))
    assert main(whole) == 0
    stop(method)
    assert main(broken) == 130
    go_on()
    capsys.readouterr()
    assert main(broken) == 0
    assert "goes on from iteration 4" in capsys.readouterr().out
    ends = [checkpoint.load(next((tmp_path / name).glob(f"{method}-*"))) for name in ("whole", "broken")]
    for part in ("masks", "weights"):
        expected, found = (getattr(end, part)[0] for end in ends)
        assert expected.keys() == found.keys() and expected
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
