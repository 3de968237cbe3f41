"""Every model at its real size, pruned by every method."""

import torch
import torch.nn.functional as F

from snip_cli.models.initialisers import initialise
from snip_cli.run.python import prune
from tests.models.test_models import EXPECTED, build, every_model

SPARSITY = 0.95


@every_model
def test_exactly_kappa_parameters_are_kept(name):
    shape, total = EXPECTED[name]
    model = build(name)
    initialise(model, "vs_x", torch.Generator().manual_seed(0))
    batch = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 8])
    for method in ("snip", "random", "magnitude"):
        mask = prune(model, batch, F.cross_entropy, method=method, sparsity=SPARSITY)
        assert sum(int(keep.sum()) for keep in mask.values()) == round(total * (1 - SPARSITY)), method
