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
    """A figure of matplotlib and the numbers it shows, a row for each point or picture."""

    figure: "Figure"
    rows: Sequence[Mapping[str, Any]]


def save(drawing: Drawing, path: Path, top: Path) -> None:
    """Write a drawing to `path`, its rows to a CSV file of the same stem, and an image below `top`/figures for TensorBoard.

    Raises ConfigError where a file cannot be written.
    """
    from snip_cli.events import EventFile  # TensorBoard takes a while to import, and a table needs none of it

    try:
        drawing.figure.savefig(path, dpi=150)
        path.with_suffix(".csv").write_text(as_csv(drawing.rows) + "\n")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be written ({error}): name a .png, .pdf or .svg file in a folder that exists."
        ) from error
    png = io.BytesIO()
    drawing.figure.savefig(png, dpi=100, format="png")
    try:
        file = EventFile(top / "figures" / path.stem)
    except OSError as error:
        log.warning("%s cannot be written (%s): TensorBoard will not show the picture", top / "figures", error)
        return
    file.image(path.stem, png.getvalue())
    file.close()


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, numbers in full and without a last line break; None is left blank."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
