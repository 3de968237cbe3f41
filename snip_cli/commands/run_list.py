"""`snip-report --list` and `--delete-unfinished`: run folders as things that have a state, an age and a size."""

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from snip_cli.errors import ConfigError
from snip_cli.report.figures.drawing import as_csv
from snip_cli.report.figures.errors import stale_curves, write_curves
from snip_cli.report.records import find_folders
from snip_cli.report.tables.runs import run_rows, runs_text
from snip_cli.runfolder.state import FINISHED, RunState, remove, state_of
from snip_cli.runtime.words import size

log = logging.getLogger("snip_cli")


def list_runs(flags: argparse.Namespace, style: str) -> None:
    """Print the runs and, with --delete-unfinished, delete those without a result after asking; then remove curves of runs that are gone."""
    states = [state_of(folder) for folder in find_folders(flags.folders)]
    if flags.list:
        print(as_csv(run_rows(states)) if flags.format == "csv" else runs_text(states, style))
    if flags.delete_unfinished:
        delete_unfinished(states, style)
    tops = {state.folder.parent for state in states} | {top for top in flags.folders if top.is_dir()}
    refresh_curves(sorted(tops))


def delete_unfinished(states: Sequence[RunState], style: str) -> None:
    """Delete the runs on which nobody works and of which no seed is finished, after asking on the terminal."""
    worthless = [state for state in states if state.is_worthless]
    kept = sum(state.state != FINISHED for state in states) - len(worthless)
    if kept:
        print(f"{kept} unfinished {_runs(kept)} kept: running, damaged, or with finished seeds", file=sys.stderr)
    if not worthless:
        print("there is nothing to delete", file=sys.stderr)
        return
    print(runs_text(worthless, style), file=sys.stderr)
    print(
        f"delete {_these(len(worthless))} ({size(sum(state.size for state in worthless))})? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        print("nothing was deleted", file=sys.stderr)
        return
    refused = []
    for state in worthless:
        try:
            remove(state)
        except ConfigError as error:  # the others are deleted all the same
            refused.append(str(error))
        else:
            print(f"deleted: {state.folder}", file=sys.stderr)
    if refused:
        raise ConfigError(" ".join(refused))


def refresh_curves(output_dirs: Iterable[Path]) -> None:
    """Write TensorBoard's curves again where there are some of runs that are gone."""
    for output_dir in output_dirs:
        if stale := len(stale_curves(output_dir)):
            write_curves(output_dir)
            which = "one was" if stale == 1 else f"{stale} were"
            print(f"wrote {output_dir / 'curves'} again: {which} no longer of the runs there", file=sys.stderr)


def _runs(count: int) -> str:
    return "run is" if count == 1 else "runs are"


def _these(count: int) -> str:
    return "this run" if count == 1 else f"these {count} runs"
