"""A picture for people, with its numbers: as a file, as CSV beside it, and in TensorBoard."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snip_cli.errors import ConfigError

log = logging.getLogger("snip_cli")

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure of matplotlib and the numbers it shows: a row for each point or picture, and the pixels of pictures by themselves."""

    figure: "Figure"
    rows: Sequence[Mapping[str, Any]]
    pixels: Sequence[Mapping[str, Any]] = ()


def require_folder(path: Path) -> None:
    """Raise ConfigError where a picture is to be written into a folder that is not there, so that no table is made first."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}; make it, or name another file.")


def save(drawing: Drawing, path: Path, top: Path) -> list[Path]:
    """Write a drawing to `path`, and an image below `top`/figures for TensorBoard; gives the CSV files of its numbers.

    These lie beside it, STEM.csv and, where it has pixels, STEM-pixels.csv. Raises ConfigError where a file cannot be written.
    """
    from snip_cli.runfolder.events import EventFile  # TensorBoard takes a while to import, and a table needs none of it

    numbers = {path.with_suffix(".csv"): drawing.rows, path.with_name(f"{path.stem}-pixels.csv"): drawing.pixels}
    written = [file for file, rows in numbers.items() if rows]
    try:
        drawing.figure.savefig(path, dpi=150)
        for file in written:
            file.write_text(as_csv(numbers[file]) + "\n")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be written ({error}): name a .png, .pdf or .svg file in a folder that exists."
        ) from error
    png = io.BytesIO()
    drawing.figure.savefig(png, dpi=100, format="png")
    try:
        events = EventFile(top / "figures" / path.stem)
    except OSError as error:
        log.warning("%s cannot be written (%s): TensorBoard will not show the picture", top / "figures", error)
        return written
    events.image(path.stem, png.getvalue())
    events.close()
    return written


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, numbers in full and without a last line break; None is left blank."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
