"""A data set that is too large for memory: worker processes decode the files of each batch, and the device normalises
it.

All images of a batch have the same size, which may grow during training. torchvision is imported on use, because that
takes longer than importing torch itself.
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
from snip_cli.data.draws import Draw
from snip_cli.data.resident import Normalisation
from snip_cli.data.splits import Batch, Data, held_out_rows
from snip_cli.errors import ConfigError, RunError

# The usual evaluation crops 224 pixels from an image whose shorter side is 256.
RESIZE_OVER_CROP = 256 / 224


@dataclass(frozen=True)
class Files:
    """The image files of the training and test split, an int64 label for each, and the statistics that normalise their
    pixels.

    `mean` and `std` are those of pixels in [0, 1], one number per channel.
    """

    train: list[Path]
    train_labels: Tensor
    test: list[Path]
    test_labels: Tensor
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Wanted:
    """One image to decode: its row, the side of the square to return, and the random number that augments it (None: no
    augmentation).
    """

    row: int
    size: int
    number: int | None = None


# (uint8 pixels, label), or the error of a file that cannot be decoded.
Item = tuple[Tensor, Tensor] | str


class Decoded(Dataset[Item]):
    """Image files as uint8 tensors. A file that cannot be decoded becomes the sentence of its error."""

    def __init__(self, paths: Sequence[Path], labels: Tensor) -> None:
        self.paths, self.labels = paths, labels

    def __getitem__(self, wanted: Wanted) -> Item:
        try:
            image = open_rgb(self.paths[wanted.row])
        except ConfigError as error:
            return str(error)
        cropped = central(image, wanted.size) if wanted.number is None else random_crop(image, wanted)
        return torch.from_numpy(numpy.array(cropped)).permute(2, 0, 1), self.labels[wanted.row]


def central(image: Image.Image, size: int) -> Image.Image:
    """Return the central square of an image whose shorter side is first scaled to 8/7 of `size` (256 for 224)."""
    from torchvision.transforms import v2

    return v2.functional.center_crop(v2.functional.resize(image, [round(size * RESIZE_OVER_CROP)]), [size, size])


def random_crop(image: Image.Image, wanted: Wanted) -> Image.Image:
    """Return a random part of the image (8 to 100 % of its area, aspect ratio 3:4 to 4:3), resized, and flipped with
    probability 1/2.
    """
    from torchvision.transforms import v2

    assert wanted.number is not None
    with torch.random.fork_rng(devices=[]):  # the transforms draw from the global generator
        torch.default_generator.manual_seed(wanted.number)  # torch.manual_seed would reseed the GPU too
        return v2.RandomHorizontalFlip()(v2.RandomResizedCrop(wanted.size)(image))


def collate(images: list[Item]) -> Item:
    """Return (pixels_BCHW, labels_B), or the error of the first image that cannot be decoded."""
    for image in images:
        if isinstance(image, str):
            return image
    pixels, labels = zip(*images, strict=True)
    return torch.stack(pixels), torch.stack(labels)


@dataclass(frozen=True)
class StreamedSplit:
    """Image files with labels.

    sizes: the sides of the training images, each for an equal part of the training.
    size: the side of images without augmentation.
    """

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
        """Return the same images with other labels."""
        return replace(self, files=Decoded(self.files.paths, labels))

    def drawn(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        """Return one augmented batch for each draw; the workers decode ahead."""
        return self._batches(self._wanted(draw) for draw in draws)

    def _wanted(self, draw: Draw) -> list[Wanted]:
        # The workers run ahead, also past the end of the training, where progress is 1 or more.
        size = self.sizes[min(int(draw.progress * len(self.sizes)), len(self.sizes) - 1)]
        numbers = draw.numbers.tolist() if self.augmented else [None] * len(draw.rows)
        return [Wanted(row, size, number) for row, number in zip(draw.rows.tolist(), numbers, strict=True)]

    def selected(self, rows: Iterable[Tensor]) -> Iterator[Batch]:
        """Return one batch, cropped at the centre, for each tensor of rows."""
        return self._batches([Wanted(row, self.size) for row in part.tolist()] for part in rows)

    def _batches(self, wanted: Iterable[list[Wanted]]) -> Iterator[Batch]:
        loader = DataLoader(
            self.files,
            batch_sampler=wanted,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # the seed of the workers must not be drawn from the training's generator
        )
        for batch in while_workers_live(loader):
            if isinstance(batch, str):
                raise ConfigError(batch)
            pixels, labels = (part.to(self.device, non_blocking=True) for part in batch)
            yield self.normalise(pixels), labels


def while_workers_live(loader: DataLoader[Item]) -> Iterator[Item]:
    """Yield the loader's batches.

    Raises RunError if one of its processes was killed, most often because memory ran out.
    """
    try:
        yield from loader
    except (RuntimeError, EOFError, ConnectionError) as error:
        # A worker that is killed while it hands over a batch leaves a broken pipe.
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise RunError(
            "A process that decodes images was killed: lower dataset.workers or schedule.batch_size if memory ran out, and start the same command again."
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
    """Return the three splits of `files`.

    The fraction `held_out` of the training files, drawn with `split_seed`, is the validation split.
    """

    def split(paths: list[Path], labels: Tensor, augmented: bool = False) -> StreamedSplit:
        return StreamedSplit(Decoded(paths, labels), normalise, device, sizes or [size], size, workers, augmented)

    train, validation = held_out_rows(len(files.train), held_out, split_seed)

    def part(rows: Tensor, augmented: bool = False) -> StreamedSplit:
        return split([files.train[row] for row in rows.tolist()], files.train_labels[rows], augmented)

    return Data(part(train, augmented), part(validation), split(files.test, files.test_labels))
