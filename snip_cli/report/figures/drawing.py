"""Saves a figure: as a file, its numbers as CSV beside it, and for TensorBoard."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snip_cli.errors import ConfigError, RunError

log = logging.getLogger("snip_cli")

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure of matplotlib and the numbers it shows: a row per point or picture, and separately the pixels of pictures."""

    figure: "Figure"
    rows: Sequence[Mapping[str, Any]]
    pixels: Sequence[Mapping[str, Any]] = ()


def require_folder(path: Path) -> None:
    """Raise ConfigError where the folder of a picture does not exist, before any table is made."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}; make it, or name another file.")


def save(drawing: Drawing, path: Path, top: Path) -> list[Path]:
    """Write a drawing to `path` and, for TensorBoard, an image below `top`/figures; return the CSV files of its numbers.

    They lie beside the drawing: STEM.csv and, where it has pixels, STEM-pixels.csv. Raises ConfigError where a file cannot be written.
    """
    from snip_cli.runfolder.events import EventFile  # takes a while to import, and a table does not need it

    numbers = {path.with_suffix(".csv"): drawing.rows, path.with_name(f"{path.stem}-pixels.csv"): drawing.pixels}
    written = [file for file, rows in numbers.items() if rows]
    try:
        drawing.figure.savefig(path, dpi=150)
        for file in written:
            file.write_text(as_csv(numbers[file]) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be written ({error}): name a .png, .pdf or .svg file in a folder that exists."
        ) from error
    png = io.BytesIO()
    drawing.figure.savefig(png, dpi=100, format="png")
    try:
        events = EventFile(top / "figures" / path.stem)
        events.image(path.stem, png.getvalue())
        events.close()
    except RunError as error:
        log.warning("TensorBoard will not show the figure: %s", error)
    return written


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, numbers in full, without a final line break; None is left blank."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
