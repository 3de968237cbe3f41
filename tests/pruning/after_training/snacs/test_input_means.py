"""A layer's mean output from the means of its inputs, against the network run with the masked weight."""

import pytest
import torch
from torch import nn

from snip_cli.errors import ConfigError
from snip_cli.models.tensorflow import SameConv2d
from snip_cli.pruning.after_training.snacs.activations import channel_means
from snip_cli.pruning.after_training.snacs.input_means import first_that_fit, input_means, mean_outputs

CONVOLUTIONS = {
    "plain": lambda: nn.Conv2d(3, 4, 3),
    "padded": lambda: nn.Conv2d(3, 4, 3, padding=1),
    "without bias": lambda: nn.Conv2d(3, 4, 3, padding=1, bias=False),
    "strided": lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "strided past the end": lambda: nn.Conv2d(3, 4, 2, stride=3),
    "oblong": lambda: nn.Conv2d(3, 4, (1, 5), stride=(2, 1), padding=(0, 2)),
    "dilated": lambda: nn.Conv2d(3, 4, 3, dilation=2, padding=2),
    "padded by name": lambda: nn.Conv2d(3, 4, (3, 5), padding="same"),
    "padded with a mirror": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "pointwise": lambda: nn.Conv2d(3, 4, 1, stride=2),
    "of TensorFlow": lambda: SameConv2d(3, 4, 3),
    "of TensorFlow, strided": lambda: SameConv2d(3, 4, 5, 2),
    "of TensorFlow, even": lambda: SameConv2d(3, 4, 4, 3),
}


def images(dtype):
    return torch.randn(5, 3, 9, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)


def agree(model, name, dtype):
    """The two ways give the same mean outputs of layer `name` for some masks of it."""
    model = model.to(dtype)
    layer = model.get_submodule(name)
    batches = [(part, None) for part in images(dtype).split(2)]
    means = input_means(model, batches, [name])[name]
    original = layer.weight.detach().clone()
    for seed in range(3):
        mask = torch.rand(original.shape, generator=torch.Generator().manual_seed(seed)) > seed / 3
        with torch.no_grad():
            layer.weight.copy_(original * mask)
        real = channel_means(model, batches, [name])[name]
        tolerance = 1e-10 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(
            mean_outputs(means, original * mask, layer.bias), real, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_masked_convolutions_mean_output_is_that_of_the_masked_network(kind, dtype):
    torch.manual_seed(0)
    agree(nn.Sequential(nn.ReLU(), CONVOLUTIONS[kind]()), "1", dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_masked_linear_layers_output_is_that_of_the_masked_network(dtype):
    torch.manual_seed(0)
    # The ReLU before it overwrites its input's memory, and the one behind it its output.
    agree(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(True), nn.Flatten(), nn.Linear(84, 5), nn.ReLU(True)), "3", dtype)


def test_the_means_have_a_row_an_image_and_a_column_a_place_of_the_kernel():
    model = nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.Flatten(), nn.Linear(4 * 7 * 7, 2))
    means = input_means(model, [(images(torch.float32), None)], ["0", "2"])
    assert {name: tuple(mean.shape) for name, mean in means.items()} == {"0": (5, 3, 6), "2": (5, 196, 1)}


def test_as_many_layers_as_fit_the_memory_and_at_least_one():
    model = nn.Sequential(nn.Conv2d(256, 4, 1), nn.Conv2d(64, 4, (2, 2)), nn.Linear(512, 3), nn.Linear(1, 1))
    layers = ["0", "1", "2", "3"]
    one_mb = {
        "images": 1024,
        "memory_mb": 1,
    }  # 256 numbers an image of 4 bytes each: what each of the first two layers takes
    assert first_that_fit(model, layers, **one_mb) == ["0"]
    assert first_that_fit(model, layers, images=1024, memory_mb=2) == ["0", "1"]
    assert first_that_fit(model, layers, images=1024, memory_mb=4) == ["0", "1", "2"]
    assert first_that_fit(model, layers, images=1024, memory_mb=5) == layers
    assert first_that_fit(model.double(), layers, images=1024, memory_mb=4) == ["0", "1"]
    assert first_that_fit(model, layers, images=1024, memory_mb=0) == ["0"]


def test_a_layer_that_computes_something_else_is_refused():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return super().forward(2 * x)

    with pytest.raises(ConfigError, match="Layer '0' computes something else"):
        input_means(nn.Sequential(Doubled(3, 4, 3)), [(images(torch.float32), None)], ["0"])


def test_an_output_that_is_not_finite_is_refused_by_the_name_of_its_layer():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    nn.init.constant_(model[0].bias, torch.nan)
    with pytest.raises(ConfigError, match="outputs of layer '1' are not finite"):
        input_means(model, [(images(torch.float32), None)], ["1"])


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    input_means(model, [(images(torch.float32), None)], ["0"])
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model[0]._forward_hooks
