"""snip-report: run folders → table and figure."""

import argparse
import functools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from snip_cli.commands.exit_codes import exit_code_of
from snip_cli.errors import ConfigError
from snip_cli.report.batch_sizes import draw_batch_sizes
from snip_cli.report.cells import cells
from snip_cli.report.drawing import as_csv, require_folder, save
from snip_cli.report.figure import draw_errors
from snip_cli.report.limits import draw_limits, limits_csv, limits_table, read_limits
from snip_cli.report.masks import draw_masks
from snip_cli.report.paper import (
    LAYOUTS,
    as_printed_table,
    columns_of,
    numbers_of,
    of_table,
    table_named,
    warn_of_none,
    with_missing,
)
from snip_cli.report.records import COLUMNS, is_run, read_tree
from snip_cli.report.snacs import beside_published, is_listed, layers_beside_published, listed_networks
from snip_cli.report.table import as_text, rows
from snip_cli.report.training import draw_trainings

log = logging.getLogger("snip_cli")

EXAMPLES = """\
examples:
  snip-report runs/
  snip-report runs/ --format markdown > results.md
  snip-report runs/ --figure error.png
  snip-report runs/*-lenet_5_caffe-* --figure lenet_5_caffe.png
  snip-report runs/ --masks masks.png
  snip-report runs/ --curves curves.png
  snip-report runs/ --table "Table 3" --format latex
  snip-report runs/ --table SNACS
  snip-report runs/snacs-vgg16-… --limits limits.png
  snip-report runs/ --by method,model,dataset,sparsity,schedule.iterations
"""
# What is published of methods that reach no sparsity exactly: lists, into which our runs are put by what they removed.
LISTS = {"SNACS": beside_published, "SNACS layers": layers_beside_published}
PICTURES = {"figure": draw_errors, "masks": draw_masks, "batch_sizes": draw_batch_sizes, "curves": draw_trainings}
STYLES = {"text": "simple", "markdown": "github", "latex": "latex_booktabs"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `snip-report` with `arguments` (default: those of the process) and return the exit code."""
    flags = parser().parse_intermixed_args(arguments)
    warnings = logging.StreamHandler(sys.stderr)
    log.addHandler(warnings)
    try:
        return exit_code_of("snip-report", functools.partial(run_command, flags))
    finally:
        log.removeHandler(warnings)


def run_command(flags: argparse.Namespace) -> int:
    """Print and draw what the flags ask for and return the exit code."""
    if flags.table:
        flags.table = table_named(flags.table, LISTS)
    check_together(flags)
    if flags.limits:
        limits, model = read_limits(flags.folders[0])
        draw_limits(limits, model, flags.limits)
        if flags.format == "csv":
            print(limits_csv(limits, model))
        else:
            print(limits_table(limits, model, STYLES[flags.format]))
        print(f"drawn: {flags.limits}", file=sys.stderr)
    elif flags.table in LISTS:
        records = read_tree(*flags.folders, may_be_empty=True)
        if not any(is_listed(record) for record in records):
            networks = ", ".join(f"{model} on {dataset}" for model, dataset in listed_networks())
            warn_of_none(records, f"a network that the table {flags.table} lists ({networks})", flags.folders)
        listed = LISTS[flags.table](records)
        if flags.format == "csv":
            print(as_csv(listed))
        else:
            print(tabulate(listed, headers="keys", tablefmt=STYLES[flags.format]))
    else:
        report(flags)
    return 0


def check_together(flags: argparse.Namespace) -> None:
    """Raise ConfigError where something is asked for beside what comes alone: the limits, of one run, and the lists of SNACS."""
    if flags.limits and len(flags.folders) > 1:
        raise ConfigError(f"--limits is of one run, not of {len(flags.folders)}: name one folder.")
    alone = "--limits" if flags.limits else f"--table {flags.table!r}" if flags.table in LISTS else ""
    others = [
        option for option in ("table", *PICTURES) if getattr(flags, option) and (flags.limits or option != "table")
    ]
    if alone and others:
        named = ", ".join(f"--{option.replace('_', '-')}" for option in others)
        raise ConfigError(f"{alone} comes alone: ask for {named} in a command of its own.")


def report(flags: argparse.Namespace) -> None:
    """Print the table and draw the pictures that were asked for; pictures other than of the table's errors come without a table."""
    numbers = numbers_of(flags.table) if flags.table else []
    records = read_tree(*flags.folders, may_be_empty=bool(numbers))
    if numbers:  # so that only what differs between its own runs is a column
        records = of_table(records, numbers, flags.table, flags.folders)
    found = cells(records, [*flags.by.split(","), *columns_of(numbers, records)])
    if numbers:
        found = with_missing(found, numbers)
    pictures = {option: path for option in PICTURES if (path := getattr(flags, option))}
    for path in pictures.values():
        require_folder(path)
    if numbers or "figure" in pictures or not pictures:
        if flags.table in LAYOUTS and flags.format != "csv":
            print(as_printed_table(found, LAYOUTS[flags.table], STYLES[flags.format]), end="\n\n")
        print(as_csv(rows(found)) if flags.format == "csv" else as_text(found, STYLES[flags.format]))
    refused = []
    for option, path in pictures.items():
        try:
            numbers_in = save(PICTURES[option](found), path, top_of(flags.folders))
        except ConfigError as error:  # the others may be drawn all the same
            refused.append(str(error))
        else:
            print(f"drawn: {path}, its numbers: {', '.join(map(str, numbers_in))}", file=sys.stderr)
    if refused:
        raise ConfigError(" ".join(refused))


def top_of(folders: Sequence[Path]) -> Path:
    """Where pictures of the runs in these folders lie for TensorBoard: beside several runs of one output_dir, in the first folder else."""
    first = folders[0]
    beside = all(is_run(folder) and folder.parent == first.parent for folder in folders)
    return first.parent if beside and len(folders) > 1 else first


def parser() -> argparse.ArgumentParser:
    """The command line of snip-report."""
    made = argparse.ArgumentParser(
        prog="snip-report",
        description="Table of test error (mean ± sample standard deviation over seeds) of all runs in the folders, beside the published numbers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "folders",
        metavar="folder",
        type=Path,
        nargs="*",
        default=[Path("runs")],
        help="output_dir of snip-run, or single runs in it (default: runs)",
    )
    made.add_argument(
        "--table",
        metavar="'Table 2'",
        help="the rows of this published table alone, also those that no run was made for: 'Table 1', 'Table 2', 'Table 3', 'Figure 3', SNACS, 'SNACS layers'",
    )
    made.add_argument("--format", choices=("text", "csv", "markdown", "latex"), default="text")
    made.add_argument(
        "--figure", type=Path, metavar="FILE.png", help="draw error against sparsity, with a band over seeds"
    )
    made.add_argument(
        "--masks",
        type=Path,
        metavar="FILE.png",
        help="draw how many weights of the first layer each pixel keeps, where that is linear on the pixels (first seed)",
    )
    made.add_argument(
        "--batch-sizes",
        type=Path,
        metavar="FILE.png",
        help="draw such a picture for each size of the saliency batch, and the errors below",
    )
    made.add_argument(
        "--curves",
        type=Path,
        metavar="FILE.png",
        help="draw training loss, training error (where schedule.train_error=true) and test error against iteration",
    )
    made.add_argument(
        "--limits",
        type=Path,
        metavar="FILE.png",
        help="of one run of SNACS: each layer's upper limit, drawn and as a table",
    )
    made.add_argument(
        "--by", default=",".join(COLUMNS), help="settings that tell rows apart; one that differs is named in any case"
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
