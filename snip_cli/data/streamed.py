"""A data set too large for the memory: worker processes decode each batch's files, the device normalises it.

Shapes: pixels_BCHW are uint8; every image of a batch has the same size, which may grow in the course of the training.
torchvision is imported where it is used: it takes longer to import than torch itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from snip_cli.data.decode import open_rgb
from snip_cli.data.files import Files
from snip_cli.data.resident import Normalisation
from snip_cli.data.splits import Batch, Data, Draw, held_out_rows
from snip_cli.errors import ConfigError, RunError

# The usual evaluation crops 224 of a shorter side of 256.
RESIZE_OVER_CROP = 256 / 224


@dataclass(frozen=True)
class Wanted:
    """One image to decode: its row, the side of the square to give, and the random number that augments it (None: evaluation)."""

    row: int
    size: int
    number: int | None = None


class Decoded(Dataset):
    """Image files as uint8 tensors; a file that cannot be decoded comes back as the sentence that says so."""

    def __init__(self, paths: Sequence[Path], labels: Tensor) -> None:
        self.paths, self.labels = paths, labels

    def __getitem__(self, wanted: Wanted) -> tuple[Tensor, Tensor] | str:
        try:
            image = open_rgb(self.paths[wanted.row])
        except ConfigError as error:
            return str(error)
        cropped = central(image, wanted.size) if wanted.number is None else random_crop(image, wanted)
        return torch.from_numpy(numpy.array(cropped)).permute(2, 0, 1), self.labels[wanted.row]


def central(image: Image.Image, size: int) -> Image.Image:
    """The central square of an image whose shorter side was brought to 8/7 of `size` (256 for 224)."""
    from torchvision.transforms import v2

    return v2.functional.center_crop(v2.functional.resize(image, [round(size * RESIZE_OVER_CROP)]), [size, size])


def random_crop(image: Image.Image, wanted: Wanted) -> Image.Image:
    """A random part of the image (8 to 100 % of its area, aspect ratio 3:4 to 4:3), resized, flipped in half of the cases."""
    from torchvision.transforms import v2

    assert wanted.number is not None
    with torch.random.fork_rng(devices=[]):  # the transforms draw from the global generator
        torch.default_generator.manual_seed(wanted.number)  # torch.manual_seed would reseed the GPU too
        return v2.RandomHorizontalFlip()(v2.RandomResizedCrop(wanted.size)(image))


def collate(images: list[tuple[Tensor, Tensor] | str]) -> tuple[Tensor, Tensor] | str:
    """(pixels_BCHW, labels_B), or the sentence of the first image that could not be decoded."""
    for image in images:
        if isinstance(image, str):
            return image
    pixels, labels = zip(*images, strict=True)
    return torch.stack(pixels), torch.stack(labels)


@dataclass(frozen=True)
class StreamedSplit:
    """Image files with labels; `sizes` are the sides of the training images, each for an equal part of the training."""

    files: Decoded
    normalise: Normalisation
    device: torch.device
    sizes: Sequence[int]
    size: int
    workers: int
    augmented: bool = False

    @property
    def labels(self) -> Tensor:
        """The class of every row, int64 on the CPU."""
        return self.files.labels

    @property
    def rows_device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def pixels(self) -> int:
        return self.size**2

    def __len__(self) -> int:
        return len(self.labels)

    def relabelled(self, labels: Tensor) -> "StreamedSplit":
        """The same images with other labels."""
        return replace(self, files=Decoded(self.files.paths, labels))

    def drawn(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        """One augmented batch for each draw, decoded ahead by the workers."""
        return self._batches(self._wanted(draw) for draw in draws)

    def _wanted(self, draw: Draw) -> list[Wanted]:
        # The workers run ahead, past the training's end too.
        size = self.sizes[min(int(draw.progress * len(self.sizes)), len(self.sizes) - 1)]
        numbers = draw.numbers.tolist() if self.augmented else [None] * len(draw.rows)
        return [Wanted(row, size, number) for row, number in zip(draw.rows.tolist(), numbers, strict=True)]

    def selected(self, rows: Iterable[Tensor]) -> Iterator[Batch]:
        """One batch, centrally cropped, for each tensor of rows."""
        return self._batches([Wanted(row, self.size) for row in part.tolist()] for part in rows)

    def _batches(self, wanted: Iterable[list[Wanted]]) -> Iterator[Batch]:
        loader = DataLoader(
            self.files,
            batch_sampler=wanted,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # what it draws for its workers shall not come from the training's generator
        )
        for batch in while_workers_live(loader):
            if isinstance(batch, str):
                raise ConfigError(batch)
            pixels, labels = (part.to(self.device, non_blocking=True) for part in batch)
            yield self.normalise(pixels), labels


def while_workers_live(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor] | str]:
    """What the loader gives; raises RunError where one of its processes was killed, most often for want of memory."""
    try:
        yield from loader
    except (RuntimeError, EOFError, ConnectionError) as error:
        # One that is killed while it hands a batch over leaves a pipe that ends too early.
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise RunError(
            "A process that decodes images was killed: lower dataset.workers or schedule.batch_size if the memory ran out, and start the same command again."
        ) from error


def streamed(
    files: Files,
    normalise: Normalisation,
    *,
    split_seed: int,
    held_out: float,
    size: int,
    sizes: Sequence[int],
    workers: int,
    augmented: bool,
    device: torch.device,
) -> Data:
    """The three splits of `files`; the part `held_out` of the training files, drawn with `split_seed`, validates."""

    def split(paths: list[Path], labels: Tensor, augmented: bool = False) -> StreamedSplit:
        return StreamedSplit(Decoded(paths, labels), normalise, device, sizes or [size], size, workers, augmented)

    train, validation = held_out_rows(len(files.train), held_out, split_seed)

    def part(rows: Tensor, augmented: bool = False) -> StreamedSplit:
        return split([files.train[row] for row in rows.tolist()], files.train_labels[rows], augmented)

    return Data(part(train, augmented), part(validation), split(files.test, files.test_labels))
