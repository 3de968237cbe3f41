"""Removal of whole filters by norm: which ones are removed, and that nothing of them is left."""

import pytest
import torch
from torch import nn

from snip_cli.errors import ConfigError
from snip_cli.models.resnet_cifar import CifarResNet
from snip_cli.pruning.after_training.l1_filter import is_only_reader, l1_filter
from snip_cli.pruning.after_training.layer_pairs import Pair, find_pairs
from snip_cli.pruning.mask import apply_mask
from snip_cli.pruning.method import Request
from snip_cli.pruning.options import NoOptions


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 6, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6 * 16, 10), nn.ReLU(), nn.Linear(10, 3)).double()


def images():
    return torch.randn(5, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def pruned(model, sparsity):
    return l1_filter(model, [(images(), torch.zeros(5))], None, Request(sparsity, torch.Generator()), NoOptions())


def removed(mask):
    return 1 - sum(int(keep.sum()) for keep in mask.values()) / sum(keep.numel() for keep in mask.values())


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.8])
def test_it_comes_near_to_the_sparsity_and_never_above(sparsity):
    reached = removed(pruned(network(), sparsity).mask)
    assert sparsity - 0.15 < reached <= sparsity


def test_the_filters_with_the_smallest_norm_go():
    model = network()
    mask = pruned(model, 0.5).mask
    for name in ("0", "3", "6"):
        gone = ~mask[f"{name}.weight"].flatten(1).any(dim=1)
        norms = model.get_submodule(name).weight.abs().flatten(1).sum(dim=1)
        assert 0 < int(gone.sum()) < len(gone)
        assert norms[gone].max() < norms[~gone].min()


def test_every_layer_loses_the_same_part_of_its_filters():
    mask = pruned(network(), 0.5).mask
    parts = [float((~mask[f"{name}.weight"].flatten(1).any(dim=1)).double().mean()) for name in ("0", "3", "6")]
    assert max(parts) - min(parts) <= 1 / 6 + 1e-9


def test_nothing_of_a_filter_is_left():
    model = network().eval()
    mask = pruned(model, 0.5).mask
    apply_mask(model, mask)
    whole = model(images())
    gone = ~mask["0.weight"].flatten(1).any(dim=1)
    assert not mask["0.bias"][gone].any()
    model[1].bias.data[gone] += 3.0  # batch-norm of a filter that is gone reaches nobody
    torch.testing.assert_close(model(images()), whole)


def test_one_filter_of_every_layer_stays_and_so_do_the_classes():
    mask = pruned(network(), 0.999).mask
    assert [int(mask[f"{name}.weight"].flatten(1).any(dim=1).sum()) for name in ("0", "3", "6")] == [1, 1, 1]
    assert int(mask["8.weight"].any(dim=1).sum()) == 3


def test_where_all_filters_are_not_enough_it_says_how_far_it_came(caplog):
    found = pruned(network(), 0.999)
    assert found.facts["sparsity_reached"] == pytest.approx(removed(found.mask))
    assert caplog.messages == [
        f"sparsity=0.999 cannot be reached: removing all removable filters gives {removed(found.mask):.4f}, which is used"
    ]
    caplog.clear()
    pruned(network(), 0.5)
    assert not caplog.messages


def test_in_a_residual_network_only_filters_inside_a_block_go():
    model = CifarResNet(1, 3, blocks=1)
    example = torch.zeros(1, 1, 8, 8)
    inside = [pair for pair in find_pairs(model, example) if is_only_reader(model, pair, example)]
    assert [(pair.parent, pair.child) for pair in inside] == [
        (f"blocks.{number}.conv1", f"blocks.{number}.conv2") for number in range(3)
    ]


def test_looking_leaves_the_network_as_it_was():
    model = network()
    model[3].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert is_only_reader(model, Pair("0", "3"), images()[:1])
    assert model.training
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["3.bias"]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_network_without_such_filters_is_refused():
    with pytest.raises(ConfigError, match="no two consecutive"):
        pruned(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double(), 0.5)
