"""Error and loss of a network on a split, and whether the network has learned anything."""

import logging
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snip_cli.config.sections import Schedule
from snip_cli.data.splits import Split
from snip_cli.runfolder.results import Evaluation
from snip_cli.runtime.processes import SINGLE_PROCESS, ProcessGroup

log = logging.getLogger("snip_cli")

# Images that are evaluated at a time, and their pixels, which limit the number of large images: 167 of 224×224.
CHUNK, CHUNK_PIXELS = 1000, 2**23


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: Split,
    *,
    forward: Callable[[Tensor], Tensor] | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> tuple[float, float]:
    """Return (error, loss) of `model` in inference mode: top-1 error in percent and mean cross-entropy in nats.

    The processes of a group share the images, and all of them get the result, with the batch-norm statistics of the first process.

    Args:
        forward: applies the model; by default the model itself.
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


def chunks(split: Split, networks: int) -> tuple[Tensor, ...]:
    """Return the rows of a split in pieces that `networks` networks are evaluated on at a time."""
    chunk = max(1, min(CHUNK, CHUNK_PIXELS // split.pixels) // networks)
    return torch.arange(len(split), device=split.rows_device).split(chunk)


def evaluation_row(
    schedule: Schedule,
    iteration: int,
    losses: Sequence[float],
    validation: tuple[float, float],
    test: tuple[float, float],
    train: tuple[float, float] | None,
    images_per_second: float,
) -> Evaluation:
    """Return one row of metrics.csv, and the rate of images since the last one.

    Args:
        iteration: how many iterations are done.
        losses: the training losses since the last evaluation.
        validation, test, train: (error in percent, loss) of the splits; no `train` unless `schedule.train_error` asks for it.
    """
    (val_error, val_loss), (test_error, test_loss) = validation, test
    return Evaluation(
        iteration=iteration,
        learning_rate=schedule.rate_at(iteration - 1) if losses else 0.0,
        train_loss=sum(losses) / len(losses) if losses else math.nan,  # a schedule of no iterations
        val_loss=val_loss,
        val_error=val_error,
        test_loss=test_loss,
        test_error=test_error,
        train_error=train[0] if train else None,
        images_per_second=images_per_second,
    )


def guessing_loss(labels: Tensor) -> float:
    """Return the loss, in nats, of knowing only how frequent each class is: the entropy of the labels."""
    counts = labels.bincount().double()
    return float(torch.special.entr(counts / counts.sum()).sum())


def has_learned(train_loss: float, schedule: Schedule, labels: Tensor) -> bool | None:
    """Return whether the training loss is below 0.99 times that of guessing.

    None if the network has been trained on fewer images than there are `labels`. A network whose units are dead, for example, has
    learned nothing.
    """
    if schedule.iterations * schedule.batch_size < len(labels):
        return None
    return train_loss <= 0.99 * guessing_loss(labels)


def warn_of_guessing(seed: int, train_loss: float, labels: Tensor) -> None:
    """Warn of a seed that has learned nothing."""
    log.warning(
        "seed %d has learned nothing: its training loss is %.3f, and guessing costs %.3f; try schedule.warmup=100, a lower "
        "schedule.learning_rate or another init_train",
        seed,
        train_loss,
        guessing_loss(labels),
    )
