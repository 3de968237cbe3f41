"""What a report's picture leaves: the file, the CSV beside it, and the image in TensorBoard."""

import csv

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snip_cli.commands.snip_report import main

PNG = b"\x89PNG"


def drawn(top, option):
    """Let snip-report draw a picture, look that it is whole, and give the rows of its CSV."""
    path = top / "picture.png"
    assert main([str(top), option, str(path)]) == 0
    assert path.read_bytes().startswith(PNG)
    events = EventAccumulator(str(top / "figures" / "picture")).Reload()
    [image] = events.Images("picture")
    assert image.encoded_image_string.startswith(PNG)
    return numbers(path.with_suffix(".csv"))


def pixels(top):
    """The rows of the pixels that lie beside the picture."""
    return numbers(top / "picture-pixels.csv")


def numbers(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
