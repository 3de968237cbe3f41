"""Error against sparsity as curves that TensorBoard draws: one folder a method and model below `curves`."""

import re
import statistics
from pathlib import Path

from filelock import FileLock

from snip_cli.report.cells import Cell, cells
from snip_cli.report.lines import lines
from snip_cli.report.records import read_folders

TAG = "error_against_sparsity"
STEPS = 10_000  # TensorBoard's axis holds whole numbers: step = sparsity × 10,000


def write_curves(output_dir: Path) -> list[Path]:
    """Write the curves of all runs in `output_dir` anew and give their folders.

    Step = sparsity that was reached × 10,000, value = mean test error in percent over the seeds. Every method's curve starts from the reference of its
    own model, data set and schedule.
    """
    from snip_cli.runfolder.events import EventFile  # TensorBoard takes a while to import, and a table needs none of it

    folder = output_dir / "curves"
    found = lines(cells(read_folders(sorted(output_dir.glob("*")))))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with FileLock(output_dir / ".curves.lock"):
        for old in folder.glob("*/events.out.tfevents.*"):
            old.unlink(missing_ok=True)
        for line in found:
            if line[-1].settings["method"] == "reference":
                continue
            file = EventFile(folder / curve_name(line[-1]))
            for cell in line:
                file.scalar(TAG, statistics.fmean(cell.errors), round(cell.sparsity * STEPS))
            file.close()
            written.append(folder / curve_name(line[-1]))
    return written


def curve_name(cell: Cell) -> str:
    """Method, model, data set and whatever else tells the cell from another, as a folder's name."""
    key = {name: value for name, value in cell.key.items() if name != "sparsity"}
    first = [key.pop("method"), key.pop("model"), key.pop("dataset")]
    words = [*first, *(f"{name}={value}" for name, value in key.items() if value != "")]
    return re.sub(r"[^\w.=,-]+", "_", "-".join(map(str, words)))
