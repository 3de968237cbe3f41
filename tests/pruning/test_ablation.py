"""The ablations of a mask."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli import registry
from snip_cli.commands.snip_run import main
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.ablation import shuffle_layers
from snip_cli.pruning.method import Request, find_method
from snip_cli.pruning.prune import run_method
from tests.snip_run import QUICK, run_quick


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))


def mask_of(network, method="snip", sanity="none", seed=0):
    registry.load_builtin()
    torch.manual_seed(1)
    batch = torch.randn(20, 1, 4, 4), torch.randint(3, (20,))
    generator = torch.Generator().manual_seed(seed)
    request = Request(0.7, generator)
    return run_method(network, [batch], F.cross_entropy, find_method(method), request, {}, sanity).mask


def counts(mask):
    return {name: int(keep.sum()) for name, keep in mask.items()}


def test_shuffled_layers_keep_as_many_of_each_parameter_elsewhere(network):
    plain, shuffled = mask_of(network), mask_of(network, sanity="shuffle_layers")
    assert counts(shuffled) == counts(plain)
    assert not torch.equal(shuffled["1.weight"], plain["1.weight"])
    assert not torch.equal(mask_of(network, sanity="shuffle_layers", seed=1)["1.weight"], shuffled["1.weight"])
    assert torch.equal(mask_of(network, sanity="shuffle_layers")["1.weight"], shuffled["1.weight"])


def test_every_place_is_as_likely():
    generator = torch.Generator().manual_seed(0)
    mask = {"weight": torch.arange(6).view(2, 3) < 2}
    share = torch.stack([shuffle_layers(mask, generator)["weight"] for _ in range(3000)]).double().mean(dim=0)
    assert share.flatten().tolist() == pytest.approx([1 / 3] * 6, abs=0.05)


def test_inverted_scores_keep_what_mattered_least(network):
    kept, left = mask_of(network, "magnitude"), mask_of(network, "magnitude", "invert")
    assert sum(counts(left).values()) == sum(counts(kept).values())
    size = {name: p.detach().abs() for name, p in prunable_parameters(network).items()}
    largest = max(float(size[name][keep].max()) for name, keep in left.items() if keep.any())
    assert largest < min(float(size[name][keep].min()) for name, keep in kept.items() if keep.any())


def test_a_method_without_scores_cannot_be_inverted_and_that_is_told_before_anything_is_trained(
    network, tmp_path, capsys
):
    with pytest.raises(ConfigError, match="keeps the lowest scores, but method 'l1_filter' does not score"):
        mask_of(network, "l1_filter", "invert")
    command = ["method=l1_filter", "model=lenet_5_caffe", "method.ablation=invert", "dry_run=true"]
    assert main([*QUICK, f"output_dir={tmp_path}", *command]) == 2
    assert "use method.ablation=shuffle_layers" in capsys.readouterr().err


def test_redraw_is_another_name_for_method_redraw(tmp_path):
    magnitude = [f"output_dir={tmp_path}", "method=magnitude"]
    folder = run_quick(tmp_path, *magnitude, "method.ablation=redraw")
    assert run_quick(tmp_path, *magnitude, "method.redraw=true") == folder


@pytest.mark.parametrize("sanity", ["shuffle_layers", "invert"])
def test_a_run_trains_what_the_ablation_leaves(sanity, tmp_path):
    plain = run_quick(tmp_path / "plain", "sparsity=0.95")
    folder = run_quick(tmp_path / "ablation", "sparsity=0.95", f"method.ablation={sanity}")
    masks = [torch.load(path / "mask.pt", weights_only=True)[0] for path in (plain, folder)]
    assert sum(counts(masks[0]).values()) == sum(counts(masks[1]).values()) == 13_331
    assert (counts(masks[0]) == counts(masks[1])) is (sanity == "shuffle_layers")
    assert not torch.equal(masks[0]["fc1.weight"], masks[1]["fc1.weight"])
