"""Error and loss of a model on a split."""

import torch
import torch.nn.functional as F
from torch import nn

from snip_cli.data.resident import Split

CHUNK = 1000


@torch.no_grad()
def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """(error, loss) of `model` on a split: top-1 error in percent and mean cross-entropy, in inference mode."""
    training = model.training
    model.eval()
    wrong = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    loss = torch.zeros((), dtype=torch.float64, device=split.labels.device)
    for images, labels in zip(split.images.split(CHUNK), split.labels.split(CHUNK), strict=True):
        outputs = model(images)
        wrong += (outputs.argmax(dim=1) != labels).sum()
        loss += F.cross_entropy(outputs, labels, reduction="sum")
    model.train(training)
    return 100.0 * int(wrong) / len(split), float(loss) / len(split)
