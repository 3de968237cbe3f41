"""The command line of snip-report."""

import argparse
from pathlib import Path

from snip_cli.commands.console import path
from snip_cli.report.records import COLUMNS

EXAMPLES = """\
examples:
  snip-report runs/
  snip-report runs/ --format markdown > results.md
  snip-report runs/ --figure error.png
  snip-report runs/ --figure error.pdf --logit --log --bars
  snip-report runs/*-lenet_5_caffe-* --figure lenet_5_caffe.png
  snip-report runs/ --own-schedules --log --costs costs.png
  snip-report runs/ --masks masks.png
  snip-report runs/snip-* --layers --figure layers.png
  snip-report runs/ --curves curves.png
  snip-report runs/ --html report.html
  snip-report runs/ --table "Table 3" --format latex
  snip-report runs/ --pivot method:sparsity --format latex
  snip-report runs/ --table "Table 1" --columns weights,cost
  snip-report runs/ --table SNACS
  snip-report runs/snacs-vgg16-… --limits limits.png
  snip-report runs/ --by method,model,dataset,sparsity,schedule.iterations
  snip-report runs/ --records results/records
  snip-report runs/ --list
  snip-report runs/ --delete-unfinished
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line of snip-report."""
    made = argparse.ArgumentParser(
        prog="snip-report",
        description="Table of test error (mean ± sample standard deviation over seeds) of all runs in the folders, beside the published numbers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "folders",
        metavar="folder",
        type=path,
        nargs="*",
        default=[Path("runs")],
        help="output_dir of snip-run, or single runs in it (default: runs)",
    )
    add_tables(made.add_argument_group("the table of errors"))
    add_pictures(made.add_argument_group("pictures and the page"))
    add_others(made.add_argument_group("instead of the table of errors"))
    return made


def add_tables(made: argparse._ArgumentGroup) -> None:
    """Add what chooses and shapes the table of errors."""
    made.add_argument(
        "--table",
        metavar="'Table 2'",
        help="show this published table alone, including its rows without a run: 'Table 1', 'Table 2', 'Table 3', 'Figure 3', SNACS, 'SNACS layers'",
    )
    made.add_argument(
        "--pivot",
        metavar="ROWS:COLUMNS",
        help="show the errors in a row for each value of one setting and a column for each value of another, the lowest of each column bold",
    )
    made.add_argument(
        "--own-schedules",
        action="store_true",
        help="take the schedule of each method as its own: name no setting in which only different methods differ, in --pivot, --figure and --costs",
    )
    made.add_argument("--format", choices=("text", "csv", "markdown", "latex"), default="text")
    made.add_argument(
        "--by", default=",".join(COLUMNS), help="settings that distinguish rows; any other that differs is added"
    )
    made.add_argument(
        "--untrained", action="store_true", help="show runs that trained nothing (schedule.iterations=0) too"
    )
    made.add_argument(
        "--columns",
        default="",
        metavar="weights,cost",
        help="further columns: weights, the sparsity in weights alone; cost, iterations of training before, during and after pruning, "
        "prunings, hyperparameters beyond the sparsity, and seconds by stage",
    )


def add_pictures(made: argparse._ArgumentGroup) -> None:
    """Add the pictures and the page."""
    made.add_argument(
        "--figure", type=path, metavar="FILE.png", help="draw error against sparsity, with a band over seeds"
    )
    made.add_argument(
        "--costs",
        type=path,
        metavar="FILE.png",
        help="draw error against the iterations of training that it took, reference and rounds included, a panel for each sparsity",
    )
    made.add_argument("--log", action="store_true", help="logarithmic axis of errors in --figure and --costs")
    made.add_argument(
        "--logit", action="store_true", help="logit axis of sparsities in --figure, with the reference as a line"
    )
    made.add_argument("--bars", action="store_true", help="error bars instead of bands in --figure")
    made.add_argument(
        "--masks",
        type=path,
        metavar="FILE.png",
        help="draw how many weights of the first layer each pixel keeps (first seed; layers that are linear on the pixels)",
    )
    made.add_argument(
        "--batch-sizes",
        type=path,
        metavar="FILE.png",
        help="draw the masks for each size of the saliency batch, and the errors below",
    )
    made.add_argument(
        "--curves",
        type=path,
        metavar="FILE.png",
        help="draw training loss, training error (where schedule.train_error=true) and test error against iteration",
    )
    made.add_argument(
        "--html",
        type=path,
        metavar="FILE.html",
        help="write everything as one page that needs no network: figures, tables, masks, training curves, and how each run was made",
    )


def add_others(made: argparse._ArgumentGroup) -> None:
    """Add what is shown or done instead of the table of errors."""
    made.add_argument(
        "--layers",
        action="store_true",
        help="show what is left of each layer instead of errors: shape, counts, density, effective density, share of the dense multiply-adds; "
        "--figure draws the densities",
    )
    made.add_argument(
        "--limits",
        type=path,
        metavar="FILE.png",
        help="draw and print each layer's upper limit, for one run of SNACS",
    )
    made.add_argument(
        "--records",
        type=path,
        metavar="DIR",
        help="copy settings, environment and results of each finished run to DIR/FOLDER, without tensors and names of this machine; "
        "seeds that DIR holds already are kept",
    )
    made.add_argument(
        "--list",
        action="store_true",
        help="list the run folders instead of errors: the settings in which they differ, state, age and size",
    )
    made.add_argument(
        "--delete-unfinished",
        action="store_true",
        help="delete the runs without a finished seed, after asking, and TensorBoard's curves of runs that are gone",
    )
