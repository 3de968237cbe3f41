"""snip-report: run folders → tables and figures. A plain table imports no torch."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from snip_cli.commands.console import exit_code_of
from snip_cli.commands.layers import Networks, layers_of
from snip_cli.commands.libraries import without_library_warnings
from snip_cli.commands.mean_image import mean_training_image
from snip_cli.commands.report_options import parser
from snip_cli.commands.run_list import list_runs
from snip_cli.errors import ConfigError
from snip_cli.report.cells import Cell, cells, with_own_schedules
from snip_cli.report.figures.axes import Look
from snip_cli.report.figures.batch_sizes import draw_batch_sizes
from snip_cli.report.figures.costs import draw_costs
from snip_cli.report.figures.drawing import Drawing, as_csv, require_folder, save
from snip_cli.report.figures.errors import draw_errors
from snip_cli.report.figures.layers import draw_layers
from snip_cli.report.figures.limits import draw_limits, limits_csv, limits_table, read_limits
from snip_cli.report.figures.masks import draw_masks
from snip_cli.report.figures.training import draw_trainings
from snip_cli.report.page.document import write_page
from snip_cli.report.published.snip import Published
from snip_cli.report.records import Record, listed, read_tree
from snip_cli.report.selection import trained
from snip_cli.report.tables.columns import FURTHER
from snip_cli.report.tables.errors import as_text, rows
from snip_cli.report.tables.latex import in_style
from snip_cli.report.tables.layers import layer_rows, layers_text
from snip_cli.report.tables.pivot import as_pivot, axes_of, pivot
from snip_cli.report.tables.published import (
    LAYOUTS,
    as_printed_table,
    columns_of,
    numbers_of,
    of_table,
    table_named,
    warn_of_none,
    with_missing,
)
from snip_cli.report.tables.snacs import beside_published, is_listed, layers_beside_published, listed_networks
from snip_cli.runfolder.record import is_run, read_run, write_record

log = logging.getLogger("snip_cli")

# Options that come without others.
ALONE = ("list", "delete_unfinished", "limits", "layers", "records")
# What an option of these may come with.
TOGETHER = (("list", "delete_unfinished"), ("layers", "figure"))
# Published networks of methods that reach no sparsity exactly: our runs are inserted by what they removed.
LISTS = {"SNACS": beside_published, "SNACS layers": layers_beside_published}
PICTURES: dict[str, Callable[[Sequence[Cell]], Drawing]] = {
    "figure": draw_errors,
    "costs": draw_costs,
    "masks": draw_masks,
    "batch_sizes": partial(draw_batch_sizes, mean_image=mean_training_image),
    "curves": draw_trainings,
}
STYLES = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `snip-report` with `arguments` (default: those of the process) and return the exit code."""
    warnings = logging.StreamHandler(sys.stderr)
    log.addHandler(warnings)
    try:
        with without_library_warnings():
            return exit_code_of("snip-report", lambda: run_command(parser().parse_intermixed_args(arguments)))
    finally:
        log.removeHandler(warnings)


def run_command(flags: argparse.Namespace) -> int:
    """Print and draw what the flags ask for and return the exit code."""
    if flags.table:
        flags.table = table_named(flags.table, LISTS)
    check_together(flags)
    check_columns(flags.columns)
    if ((flags.logit or flags.bars) and not flags.figure) or (flags.log and not (flags.figure or flags.costs)):
        raise ConfigError(
            "--logit and --bars are for --figure, and --log for --figure and --costs: name the picture's file."
        )
    if flags.own_schedules and not (flags.pivot or flags.figure or flags.costs):
        raise ConfigError("--own-schedules is for --pivot, --figure and --costs: add one of them, or leave it out.")
    if flags.pivot and (flags.format == "csv" or flags.columns):
        raise ConfigError(
            "--pivot has one number in each place: leave out --columns and --format csv, or leave out --pivot."
        )
    if flags.list or flags.delete_unfinished:
        list_runs(flags, STYLES.get(flags.format, "simple"))
    elif flags.limits:
        report_limits(flags)
    elif flags.layers:
        report_layers(flags)
    elif flags.records:
        copy_records(flags)
    elif flags.table in LISTS:
        report_list(flags)
    else:
        report(flags)
    return 0


def check_together(flags: argparse.Namespace) -> None:
    """Raise ConfigError where an option that stands alone comes with others: those in ALONE, and the lists of SNACS."""
    if flags.limits and len(flags.folders) > 1:
        raise ConfigError(f"--limits takes one run, and {len(flags.folders)} folders were given: name one.")
    given = [option for option in (*ALONE, "table", *PICTURES, "html", "pivot") if getattr(flags, option)]
    alone = next((option for option in given if option in ALONE), "")
    others = [option for option in given if option != alone and (alone, option) not in TOGETHER]
    name = f"--{alone.replace('_', '-')}" if alone else ""
    if not alone and flags.table in LISTS:
        name, others = f"--table {flags.table!r}", others[1:]
    if name and others:
        named = ", ".join(f"--{option.replace('_', '-')}" for option in others)
        raise ConfigError(f"{name} cannot be combined with {named}: give each a command of its own.")


def check_columns(given: str) -> None:
    """Raise ConfigError where `--columns` names one that there is not."""
    for name in filter(None, given.split(",")):
        if name not in FURTHER:
            raise ConfigError(f"--columns takes {' and '.join(FURTHER)}, separated by a comma: got '{name}'.")


def report_limits(flags: argparse.Namespace) -> None:
    """Print and draw the limits of one run."""
    limits, model = read_limits(flags.folders[0])
    draw_limits(limits, model, flags.limits)
    print(limits_csv(limits, model) if flags.format == "csv" else limits_table(limits, model, STYLES[flags.format]))
    print(f"drawn: {flags.limits}", file=sys.stderr)


def report_layers(flags: argparse.Namespace) -> None:
    """Print what is left of each layer and, with --figure, draw it."""
    if flags.figure:
        require_folder(flags.figure)
    every = cells_of(trained(read_tree(*flags.folders), flags.untrained), flags, [])
    if sys.stderr.isatty():
        print(f"counting the layers of {len(every)} rows; loading PyTorch takes most of the time", file=sys.stderr)
    networks: Networks = {}
    counted = [(cell, found) for cell in every if (found := layers_of(cell, networks))]
    if not counted:
        raise ConfigError("No run here has layers to show: none is pruned yet, or earlier versions made their records.")
    shown, layers = [cell for cell, _ in counted], [found for _, found in counted]
    in_csv = flags.format == "csv"
    print(as_csv(layer_rows(shown, layers)) if in_csv else layers_text(shown, layers, STYLES[flags.format]))
    if flags.figure:
        numbers_in = save(draw_layers(shown, layers), flags.figure, top_of(flags.folders))
        print(f"drawn: {flags.figure}, its numbers: {', '.join(map(str, numbers_in))}", file=sys.stderr)


def copy_records(flags: argparse.Namespace) -> None:
    """Copy the record of each finished run to the folder of --records, merged with the record that is there already."""
    refused = []
    for record in read_tree(*flags.folders, copies=flags.records):
        copy = flags.records / record.name
        if not record.results or record.folders == [copy]:
            continue
        if is_run(copy) and copy not in record.folders:  # writing would lose its seeds
            refused.append(copy)
        else:
            print(write_record([read_run(folder) for folder in record.folders], record.results, flags.records))
    if refused:
        raise ConfigError(
            f"No record was written to {listed(refused)}: what is there cannot be read, or has other settings than the run of the same name. "
            "Delete it, or name another folder for --records."
        )


def report_list(flags: argparse.Namespace) -> None:
    """Print a list of SNACS with our runs in it."""
    records = read_tree(*flags.folders, may_be_empty=True)
    if not any(is_listed(record) for record in records):
        networks = ", ".join(f"{model} on {dataset}" for model, dataset in listed_networks())
        warn_of_none(records, f"a network that the table {flags.table} lists ({networks})", flags.folders)
    found = LISTS[flags.table](records)
    caption = f"{flags.table}: our runs beside what is published."
    print(as_csv(found) if flags.format == "csv" else in_style(found, STYLES[flags.format], caption))


def report(flags: argparse.Namespace) -> None:
    """Print the table and draw the requested figures. Without --table, the page and figures other than --figure come without a table."""
    numbers = numbers_of(flags.table) if flags.table else []
    records = read_tree(*flags.folders, may_be_empty=bool(numbers))
    axes = axes_of(flags.pivot, records) if flags.pivot else ()
    pictures = {option: path for option in PICTURES if (path := getattr(flags, option))}
    # What a mask keeps needs no training.
    of_masks = cells_of(records, flags, numbers, axes) if "masks" in pictures else []
    found = of_masks
    if numbers or axes or flags.html or set(pictures) != {"masks"}:
        found = cells_of(trained(records, flags.untrained), flags, numbers, axes)
    for path in pictures.values():
        require_folder(path)
    if axes:
        print(as_pivot(pivot(found, *axes, own_schedules=flags.own_schedules), STYLES[flags.format]))
    elif numbers or "figure" in pictures or not (pictures or flags.html):
        if flags.table in LAYOUTS and flags.format != "csv":
            print(as_printed_table(found, LAYOUTS[flags.table], STYLES[flags.format]), end="\n\n")
        further = [name for name in flags.columns.split(",") if name]
        in_csv = flags.format == "csv"
        print(as_csv(rows(found, further)) if in_csv else as_text(found, STYLES[flags.format], further))
    if flags.html:
        write_page(records, found, flags.html)
        print(f"written: {flags.html}", file=sys.stderr)
    draw: dict[str, Callable[[Sequence[Cell]], Drawing]] = {**PICTURES}
    look = Look(flags.log, flags.logit, flags.bars)
    draw |= {"figure": partial(draw_errors, look=look), "costs": partial(draw_costs, look=look)}
    refused = []
    for option, path in pictures.items():
        try:
            numbers_in = save(draw[option](of_masks if option == "masks" else found), path, top_of(flags.folders))
        except ConfigError as error:  # the other figures are drawn all the same
            refused.append(str(error))
        else:
            print(f"drawn: {path}, its numbers: {', '.join(map(str, numbers_in))}", file=sys.stderr)
    if refused:
        raise ConfigError(" ".join(refused))


def cells_of(
    records: Sequence[Record], flags: argparse.Namespace, numbers: Sequence[Published], axes: Sequence[str] = ()
) -> list[Cell]:
    """Return the cells of these runs, of a published table in the order of its `numbers`; the `axes` of --pivot distinguish cells too."""
    if numbers:  # before the cells are made: only what differs between the table's own runs becomes a column
        records = of_table(records, numbers, flags.table, flags.folders)
    # Beside numbers that a paper quotes, each method is trained as its own paper says.
    alike = not any(number.quoted for number in numbers)
    by = list(dict.fromkeys([*flags.by.split(","), *columns_of(numbers, records), *axes]))
    found = cells(records, by, across_methods=alike)
    if flags.own_schedules:
        found = with_own_schedules(found, by)
    return with_missing(found, numbers) if numbers else found


def top_of(folders: Sequence[Path]) -> Path:
    """Return where TensorBoard's figures of these folders lie: beside several runs of one output_dir, else in the first folder."""
    first = folders[0]
    beside = all(is_run(folder) and folder.parent == first.parent for folder in folders)
    return first.parent if beside and len(folders) > 1 else first


if __name__ == "__main__":
    sys.exit(main())
