"""Writes the report as one HTML file that needs no network: styles, pictures and masks are in it, and it runs no script."""

from collections.abc import Sequence
from pathlib import Path

from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell
from snip_cli.report.figures.drawing import require_folder
from snip_cli.report.page import charts
from snip_cli.report.page.runs import runs
from snip_cli.report.page.sections import sections
from snip_cli.report.records import Record


def write_page(records: Sequence[Record], cells: Sequence[Cell], path: Path) -> None:
    """Write the page of the cells and of those runs that are in them. Raises ConfigError where the file cannot be written."""
    require_folder(path)
    shown = {folder for cell in cells for folder in cell.folders}
    text = page([record for record in records if shown.issuperset(record.folders)], cells)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error}): name a .html file in a folder that exists.") from error


def page(records: Sequence[Record], cells: Sequence[Cell]) -> str:
    """Return the page. Whatever comes from a record is escaped."""
    import jinja2  # takes a while to import, and a table does not need it

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("snip_cli.report.page", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    listed, summary = runs(records)
    return templates.get_template("page.html").render(
        runs=listed, facts=summary.facts, sections=sections(cells), frame=charts
    )
