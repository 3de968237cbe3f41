"""Requirements of every registered model."""

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import nn

from snip_cli import registry
from snip_cli.config.composition import CONFIGS
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from snip_cli.pruning.conditions import scoring_mode

CLASSES = 10
# Shape of the images and exact number of prunable parameters: an entry for every registered model.
EXPECTED = {
    "lenet_300_100": ((1, 28, 28), 266_610),
    "lenet_5_caffe": ((1, 28, 28), 431_080),
    "alexnet_s": ((3, 32, 32), 5_070_218),
    "alexnet_b": ((3, 32, 32), 8_490_378),
    "vgg_c": ((3, 32, 32), 10_526_538),
    "vgg_d": ((3, 32, 32), 15_245_130),
    "vgg_like": ((3, 32, 32), 14_982_474),
    "wrn_16_8": ((3, 32, 32), 10_958_666),
    "wrn_16_10": ((3, 32, 32), 17_113_258),
    "wrn_22_8": ((3, 32, 32), 17_153_610),
    "lstm_s": ((1, 28, 28), 136_970),
    "lstm_b": ((1, 28, 28), 536_074),
    "gru_s": ((1, 28, 28), 103_946),
    "gru_b": ((1, 28, 28), 404_490),
    "vgg16": ((3, 32, 32), 14_982_474),
    "resnet20": ((3, 32, 32), 268_346),
    "resnet56": ((3, 32, 32), 848_954),
    "resnet50": ((3, 32, 32), 23_475_402),
    "mobilenet_v2": ((3, 32, 32), 2_202_570),
}
every_model = pytest.mark.parametrize("name", registry.models.names())


def build(name, shape=None, classes=CLASSES):
    """The model with the options of its YAML, for images of the table's shape by default."""
    options = OmegaConf.to_container(OmegaConf.load(CONFIGS / "model" / f"{name}.yaml"))
    assert options.pop("name") == name
    assert len(options.pop("defaults")) == 2  # its data set comes before it
    assert options.pop("weights") == ""
    torch.manual_seed(0)
    return registry.models[name](shape or EXPECTED[name][0], classes, **options)


def images(name):
    shape, _ = EXPECTED[name]
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))


@every_model
def test_it_has_an_entry_in_the_table_above(name):
    assert name in EXPECTED


@every_model
def test_it_has_exactly_the_published_number_of_prunable_parameters(name):
    with torch.device("meta"):
        model = build(name)
    assert sum(p.numel() for p in prunable_parameters(model).values()) == EXPECTED[name][1]


@every_model
def test_its_options_are_those_of_its_yaml(name):
    options = OmegaConf.to_container(OmegaConf.load(CONFIGS / "model" / f"{name}.yaml"))
    assert options.pop("weights") == ""
    del options["defaults"]
    registry.models.check_options(options.pop("name"), options)


@every_model
def test_it_gives_a_finite_score_for_every_class(name):
    outputs = build(name)(images(name))
    assert outputs.shape == (3, CLASSES)
    assert torch.isfinite(outputs).all()


@every_model
def test_every_parameter_gets_a_finite_gradient_in_training_mode(name):
    model = build(name)
    F.cross_entropy(model(images(name)), torch.tensor([0, 4, 9])).backward()
    for parameter in model.parameters():
        assert torch.isfinite(parameter.grad).all()
        # Batch-norm subtracts the mean and with it the bias before it, whose gradient is therefore zero up to rounding.
        assert parameter.grad.any() or parameter.dim() == 1


@every_model
def test_every_parameter_plays_a_part_where_it_is_scored(name):
    model = build(name).double()  # in single precision the gradients of a deep network's first layers may vanish
    with scoring_mode(model):
        F.cross_entropy(model(images(name).double()), torch.tensor([0, 4, 9])).backward()
    assert [key for key, parameter in model.named_parameters() if not parameter.grad.any()] == []


@every_model
def test_it_treats_every_image_by_itself_in_inference_mode(name):
    model = build(name).eval().double()
    batch = images(name).double()
    with torch.no_grad():
        together = model(batch)
        alone = torch.cat([model(image[None]) for image in batch])
    torch.testing.assert_close(together, alone)
    assert len(together.unique(dim=0)) == 3


@every_model
def test_it_can_be_built_without_memory_to_count_its_parameters(name):
    with torch.device("meta"):
        model = build(name)
    assert all(p.is_meta for p in model.parameters())


@every_model
@pytest.mark.parametrize("classes", [2, 200])
def test_it_takes_any_number_of_classes(name, classes):
    with torch.device("meta"):
        model = build(name, classes=classes)
        shape, _ = EXPECTED[name]
        assert model(torch.empty(2, *shape)).shape == (2, classes)


def test_lenet_5_caffe_without_relu_after_its_convolutions_has_the_same_parameters():
    plain = registry.models["lenet_5_caffe"]((1, 28, 28), CLASSES, conv_relu=False)
    default = build("lenet_5_caffe")
    assert [(name, p.shape) for name, p in plain.named_parameters()] == [
        (name, p.shape) for name, p in default.named_parameters()
    ]
    assert [sum(isinstance(layer, nn.ReLU) for layer in model) for model in (plain, default)] == [1, 3]


@pytest.mark.parametrize("conv_relu", [True, False])
def test_lenet_5_caffe_is_the_network_of_the_paper(conv_relu):
    model = registry.models["lenet_5_caffe"]((1, 28, 28), CLASSES, conv_relu=conv_relu)
    weight = dict(model.named_parameters())
    x = images("lenet_5_caffe")
    for layer in ("conv1", "conv2"):
        x = F.conv2d(x, weight[f"{layer}.weight"], weight[f"{layer}.bias"])
        x = F.max_pool2d(F.relu(x) if conv_relu else x, 2)
    x = F.relu(F.linear(x.flatten(1), weight["fc1.weight"], weight["fc1.bias"]))
    expected = F.linear(x, weight["fc2.weight"], weight["fc2.bias"])
    torch.testing.assert_close(model(images("lenet_5_caffe")), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet_5_caffe"])
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 32, 32), (2, 19, 24)])
def test_the_lenets_take_images_of_other_sizes(name, shape):
    assert registry.models[name](shape, 7)(torch.zeros(2, *shape)).shape == (2, 7)


def test_lenet_5_caffe_refuses_images_that_its_convolutions_would_use_up():
    with pytest.raises(ConfigError, match="at least 16×16: got 15×28"):
        registry.models["lenet_5_caffe"]((1, 15, 28), CLASSES)
