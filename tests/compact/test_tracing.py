"""Forward passes that ask for numbers: conditions and loops on shapes are followed, those on values or the batch size refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.compact.network import compact
from snip_cli.compact.paths import Paths
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import prunable_parameters
from tests.compact.emptied import images, lived_in

IMAGE = (2, 8, 8)


class Asking(nn.Module):
    """Two convolutions with something between them; filters 1, 3, 5 and 7 of the first read nothing."""

    def __init__(self, between):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(2, 8, 3, padding=1), NormRelu(8), nn.Conv2d(8, 3, 1)
        self.between = between
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        return self.second(self.between(self, self.first(x)))


class NormRelu(nn.BatchNorm2d):
    """The base class looks at the number of axes."""

    def forward(self, x):
        return F.relu(super().forward(x))


def made(between):
    model = lived_in(Asking(between))
    with torch.no_grad():
        model.first.weight[1::2] = 0
        model.first.bias[1::2] = torch.tensor([0.0, 0.4, -0.7, 1.3], dtype=torch.float64)
    return model


def asserted(model, x):
    assert x.dim() == 4
    assert x.shape[1] == 8
    return x


def in_steps(model, x):
    while x.shape[-1] > 2:
        x = F.max_pool2d(x, 2)
    return x


def taken_apart(model, x):
    batch, *others = x.shape
    return x.relu().reshape(batch, *others)


def counted(model, x):
    model.calls += 1
    return x if x.is_floating_point() else x.float()


BY_SHAPE = {
    "number of axes": lambda model, x: x if x.dim() == 4 else x[None],
    "length of the shape": lambda model, x: x if len(x.shape) == 4 and len(x.size()) == 4 else x[None],
    "side": lambda model, x: x if x.shape[-1] * 2 > 9 else F.pad(x, (1, 1, 1, 1)),
    "type": counted,
    "assertions": asserted,
    "loop": in_steps,
    "shape taken apart": taken_apart,
    "sizes as arguments": lambda model, x: x.view(*x.shape[:2], -1).mean(2).view(*x.shape[:2], 1, 1),
    "norm that looks at the axes": lambda model, x: model.norm(x),
}


@pytest.mark.parametrize("name", BY_SHAPE)
def test_questions_about_shapes_are_answered(name):
    model = made(BY_SHAPE[name])
    attributes = set(vars(model))
    result = compact(model, IMAGE)
    assert result.stopped == []
    assert result.network.first.out_channels == 4
    batch = images(IMAGE, count=4)
    torch.testing.assert_close(result.network(batch), model(batch), rtol=0, atol=1e-12)
    assert set(vars(model)) == attributes
    mask = {key: torch.arange(p.numel()).view(p.shape) % 2 == 0 for key, p in prunable_parameters(model).items()}
    assert Paths(model, IMAGE).counts(mask) is not None


def test_a_loop_over_the_parts_of_a_tensor_is_traced():
    result = compact(made(lambda model, x: torch.cat([part.relu() for part in x.chunk(2, 1)], 1)), IMAGE)
    assert result.stopped == ["chunk"]


OTHERS = {
    "value": lambda model, x: x if x.sum() > 0 else -x,
    "item": lambda model, x: x if x.mean().item() > 0 else -x,
    "batch size": lambda model, x: x if x.size(0) > 1 else x + 1,
    "batch size that fails": lambda model, x: x if x.reshape(-1, 5 * 512).size(-1) > 1 else x + 1,
    "loop over images": lambda model, x: torch.stack([image.relu() for image in x]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_questions_are_refused(name):
    with pytest.raises(ConfigError) as refused:
        compact(made(OTHERS[name]), IMAGE)
    assert "write that without conditions on its input" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_assigned_to_a_part_of_a_tensor_is_a_change_in_place():
    def steps(model, x):
        x[:, 0] = 1
        return x

    model = made(steps)
    result = compact(model, IMAGE)
    assert result.stopped == ["first (Conv2d, changed in place)"]
    batch = images(IMAGE)
    torch.testing.assert_close(result.network(batch), model(batch), rtol=0, atol=1e-12)
