"""The numbers of parameters that the papers print."""

import itertools

import pytest
import torch

from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.mask import kept_count
from tests.models.test_models import EXPECTED, build

# Model, sparsity, kept parameters as printed in Table 2 of Lee et al. 2019.
TABLE_2 = [
    ("alexnet_s", 0.9, "507k"),
    ("alexnet_b", 0.9, "849k"),
    ("vgg_c", 0.95, "526k"),
    ("vgg_d", 0.95, "762k"),
    ("vgg_like", 0.97, "449k"),
    ("wrn_16_8", 0.95, "548k"),
    ("wrn_16_10", 0.95, "856k"),
    ("wrn_22_8", 0.95, "858k"),
    ("lstm_s", 0.95, "6.8k"),
    ("lstm_b", 0.95, "26.8k"),
    ("gru_s", 0.95, "5.2k"),
    ("gru_b", 0.95, "20.2k"),
]


def weights(name, classes=10):
    """The prunable weights, without biases, in the order of the layers."""
    with torch.device("meta"):
        parameters = prunable_parameters(build(name, classes=classes)).values()
    return [p for p in parameters if p.dim() > 1]


@pytest.mark.parametrize(("name", "sparsity", "printed"), TABLE_2)
def test_as_many_are_kept_as_table_2_prints(name, sparsity, printed):
    decimals = 1 if "." in printed else 0
    assert f"{kept_count(EXPECTED[name][1], sparsity) / 1000:.{decimals}f}k" == printed


@pytest.mark.parametrize(
    ("name", "classes", "total"), [("vgg16", 10, 14_977_728), ("resnet56", 10, 848_944), ("resnet50", 1000, 25_502_912)]
)
def test_snacs_counts_this_many_weights(name, classes, total):
    assert sum(p.numel() for p in weights(name, classes)) == total


def test_the_layers_of_vgg16_are_those_of_snacs():
    sizes = [1728, 36864, 73728, 147456, 294912, 589824, 589824, 1179648, *[2359296] * 5, 262144, 5120]
    assert [p.numel() for p in weights("vgg16")] == sizes


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), ("resnet56", 9)])
def test_a_cifar_resnet_has_its_convolutions_and_a_linear_layer_of_which_that_alone_has_a_bias(name, blocks):
    shapes = [tuple(p.shape) for p in weights(name)]
    widths = [3, *[16] * (2 * blocks + 1), *[32] * (2 * blocks), *[64] * (2 * blocks)]
    assert shapes == [*((wide, narrow, 3, 3) for narrow, wide in itertools.pairwise(widths)), (10, 64)]
    assert EXPECTED[name][1] - sum(p.numel() for p in weights(name)) == 10


def test_resnet20_has_269_722_parameters_those_of_batch_norm_included():
    with torch.device("meta"):
        model = build("resnet20")
    assert sum(p.numel() for p in model.parameters()) == 269_722  # 0.27M in Table 6 of He et al. (2016)


def test_resnet50_has_53_convolutions():
    assert len([p for p in weights("resnet50") if p.dim() == 4]) == 53


def test_mobilenet_v2_has_as_many_parameters_as_torchvision_says():
    with torch.device("meta"):
        model = build("mobilenet_v2", classes=1000)
    assert sum(p.numel() for p in model.parameters()) == 3_504_872
