"""OBD: the diagonal of the Hessian against the whole Hessian of tiny networks, and the saliencies that it gives."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from snip_cli.pruning.after_training.obd import ObdOptions, mean_curvature, obd
from snip_cli.pruning.method import Request


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))


def places():
    """Linear layers on the rows of an image, each applied to four places."""
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Flatten(), nn.Linear(8, 3))


def convolution():
    norm = nn.BatchNorm2d(4)
    norm.running_mean.uniform_(-0.5, 0.5)
    norm.running_var.uniform_(0.5, 2.0)
    first, second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 2, stride=2, groups=2, bias=False)
    return nn.Sequential(first, norm, nn.ReLU(), second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 3))


def data(seed=0, images=6):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randn(images, 1, 4, 4, generator=generator, dtype=torch.float64)
    return pictures, torch.randint(3, (images,), generator=generator)


@pytest.fixture(params=[linear, places, convolution])
def tiny(request):
    torch.manual_seed(1)
    return request.param().double()


def diagonal(model, batch, name):
    """The diagonal of the whole Hessian of the loss in one parameter."""
    inputs, labels = batch
    model = model.eval()
    value = model.get_parameter(name).detach()

    def loss(flat):
        return F.cross_entropy(functional_call(model, {name: flat.view_as(value)}, (inputs,)), labels)

    return torch.autograd.functional.hessian(loss, value.flatten()).diagonal().view_as(value)


def test_the_curvature_is_the_diagonal_of_the_whole_hessian(tiny):
    found = mean_curvature(tiny, [data()], F.cross_entropy)
    assert list(found) == [name for name, p in tiny.named_parameters() if p.dim() > 1]
    for name, curvature in found.items():
        torch.testing.assert_close(curvature, diagonal(tiny, data(), name))
        assert curvature.any()


def test_several_batches_give_the_mean_over_all_images(tiny):
    (inputs, labels) = data()
    parts = [(inputs[:2], labels[:2]), (inputs[2:], labels[2:])]
    whole, halves = (mean_curvature(tiny, batches, F.cross_entropy) for batches in ([data()], parts))
    assert all(torch.allclose(whole[name], halves[name]) for name in whole)


def test_large_layers_are_computed_in_pieces(tiny, monkeypatch):
    whole = mean_curvature(tiny, [data()], F.cross_entropy)
    monkeypatch.setattr("snip_cli.pruning.after_training.layer_inputs.CHUNK", 1)
    pieces = mean_curvature(tiny, [data()], F.cross_entropy)
    assert all(torch.allclose(whole[name], pieces[name]) for name in whole)


def test_the_smallest_saliencies_go_and_biases_stay(tiny):
    saliency = {
        name: p.detach().square() * diagonal(tiny, data(), name) / 2
        for name, p in tiny.named_parameters()
        if p.dim() > 1
    }
    mask = obd(tiny, [data()], F.cross_entropy, Request(0.5, torch.Generator()), ObdOptions()).mask
    kept = torch.cat([saliency[name][mask[name]] for name in saliency])
    gone = torch.cat([saliency[name][~mask[name]] for name in saliency])
    assert len(gone) and kept.min() >= gone.max() * (1 - 1e-9)
    assert all(keep.all() for name, keep in mask.items() if name not in saliency)
