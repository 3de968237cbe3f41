"""Error against sparsity as curves that TensorBoard draws: one folder a method and model below `curves`."""

import re
import shutil
import statistics
from pathlib import Path

from snip_cli.events import EventFile
from snip_cli.report.records import read_folders
from snip_cli.report.table import Cell, cells

TAG = "error_against_sparsity"
STEPS = 10_000  # TensorBoard's axis holds whole numbers: step = sparsity × 10,000


def write_curves(output_dir: Path) -> list[Path]:
    """Write the curves of all runs in `output_dir` anew and give their folders.

    Step = sparsity × 10,000, value = mean test error in percent over the seeds. Every method's curve starts from the reference of its
    own model, data set and schedule.
    """
    folder = output_dir / "curves"
    if folder.exists():
        shutil.rmtree(folder)
    written = []
    for name, points in curves(cells(read_folders(sorted(output_dir.glob("*"))))).items():
        file = EventFile(folder / name)
        for sparsity, error in sorted(points.items()):
            file.scalar(TAG, error, round(sparsity * STEPS))
        file.close()
        written.append(folder / name)
    return written


def curves(cells: list[Cell]) -> dict[str, dict[float, float]]:
    """Name of a curve → sparsity → mean error. A setting beside method, model and data set that differs is part of the name."""
    finished = [cell for cell in cells if cell.errors]
    references = [cell for cell in finished if cell.key["method"] == "reference"]
    made: dict[str, dict[float, float]] = {}
    for cell in finished:
        if cell.key["method"] != "reference":
            points = made.setdefault(curve_name(cell), {})
            points[cell.key["sparsity"]] = statistics.fmean(cell.errors)
            for reference in references:
                if shares_settings(cell, reference):
                    points[0.0] = statistics.fmean(reference.errors)
    return made


def shares_settings(cell: Cell, reference: Cell) -> bool:
    """Whether the reference is this cell's: alike in all that determines a reference."""
    own = {key: value for key, value in reference.settings.items() if key not in ("method", "sparsity")}
    return all(cell.settings.get(key) == value for key, value in own.items())


def curve_name(cell: Cell) -> str:
    """Method, model, data set and whatever else tells the cell from another, as a folder's name."""
    key = {name: value for name, value in cell.key.items() if name != "sparsity"}
    words = [
        key.pop("method"),
        key.pop("model"),
        key.pop("dataset"),
        *(f"{name}={value}" for name, value in key.items() if value != ""),
    ]
    return re.sub(r"[^\w.=,-]+", "_", "-".join(map(str, words)))
