"""Error and loss of a model on a split."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.data.splits import Split
from snip_cli.runtime.processes import SINGLE_PROCESS, ProcessGroup
from snip_cli.training.stacked.stack import Stack

# Images that are evaluated at a time, and fewer where they are large: 167 of 224×224.
CHUNK, CHUNK_PIXELS = 1000, 2**23


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: Split,
    *,
    forward: Callable[[Tensor], Tensor] | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> tuple[float, float]:
    """(error, loss) of `model` on a split: top-1 error in percent and mean cross-entropy, in inference mode.

    `forward` applies the model (default: the model itself). Every process of a group takes a share of the images; all get the result,
    of the first one's batch-norm statistics.
    """
    forward = forward or model
    training = model.training
    model.eval()
    group.broadcast_tensors(model.buffers())
    rows = chunks(split, 1)[group.rank :: group.size]
    wrong = torch.zeros((), dtype=torch.int64, device=split.device)
    loss = torch.zeros((), dtype=torch.float64, device=split.device)
    for images, labels in split.selected(rows):
        outputs = forward(images)
        wrong += (outputs.argmax(dim=1) != labels).sum()
        loss += F.cross_entropy(outputs, labels, reduction="sum")
    model.train(training)
    return 100.0 * int(group.all_reduce(wrong)) / len(split), float(group.all_reduce(loss)) / len(split)


@torch.no_grad()
def evaluate_stack(stack: Stack, split: Split) -> list[tuple[float, float]]:
    """`evaluate` for every network of a stack."""
    wrong_R = torch.zeros(stack.count, dtype=torch.int64, device=split.device)
    loss_R = torch.zeros(stack.count, dtype=torch.float64, device=split.device)
    for images, labels in split.selected(chunks(split, stack.count)):
        outputs_RBK = stack(images.expand(stack.count, *images.shape))
        wrong_R += (outputs_RBK.argmax(dim=2) != labels).sum(dim=1)
        losses = F.cross_entropy(outputs_RBK.flatten(0, 1), labels.repeat(stack.count), reduction="none")
        loss_R += losses.view(stack.count, -1).sum(dim=1)
    errors, losses = (100 * wrong_R.double() / len(split)).tolist(), (loss_R / len(split)).tolist()
    return list(zip(errors, losses, strict=True))


def chunks(split: Split, networks: int) -> tuple[Tensor, ...]:
    """The rows of a split, as many at a time as `networks` networks are evaluated on."""
    chunk = max(1, min(CHUNK, CHUNK_PIXELS // split.pixels) // networks)
    return torch.arange(len(split), device=split.rows_device).split(chunk)
