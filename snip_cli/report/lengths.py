"""Which trainings are shorter than the schedule that they chose, where no published number says so."""

from collections.abc import Sequence
from functools import cache

from omegaconf import OmegaConf

from snip_cli.report.cells import Cell


def short_note(cells: Sequence[Cell]) -> str | None:
    """Return the line below a table on trainings that are shorter than their schedule; None where there are none.

    A row with a published number is marked in another way.
    """
    trained = [cell for cell in cells if cell.errors and cell.settings["schedule.iterations"]]
    short = [
        cell
        for cell in trained
        if not cell.published and cell.settings["schedule.iterations"] < of_schedule(cell.schedule)
    ]
    lengths = dict.fromkeys(
        f"{cell.settings['schedule.iterations']:,} of the {of_schedule(cell.schedule):,} iterations of schedule={cell.schedule}"
        for cell in short
    )
    rows = f" (in {len(short)} of {len(trained)} rows)" if len(short) < len(trained) else ""
    return f"short: {'; '.join(lengths)}{rows}" if lengths else None


@cache
def of_schedule(name: str) -> int:
    """Return the iterations of a schedule that comes with snip-run; 0 of another one, and where its length depends on other settings."""
    from snip_cli.config.composition import CONFIGS  # imports Hydra

    path = CONFIGS / "schedule" / f"{name}.yaml"
    written = OmegaConf.to_container(OmegaConf.load(path), resolve=False) if path.is_file() else {}
    iterations = written.get("iterations") if isinstance(written, dict) else None
    return iterations if isinstance(iterations, int) else 0
