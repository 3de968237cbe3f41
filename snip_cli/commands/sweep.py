"""A sweep: prints the plan, does the runs that are left through Hydra's launcher, prints the table and the failures."""

import functools
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from snip_cli import registry
from snip_cli.commands.console import console, exits_reported
from snip_cli.commands.dry_run import print_plan
from snip_cli.commands.launchers import launch, runs_elsewhere, runs_in_children
from snip_cli.commands.plan import common_output_dir, one_job_per_folder, plan, title_jobs
from snip_cli.config.composition import Job, Sweep
from snip_cli.config.hydra_internals import Hydra
from snip_cli.config.reading import load
from snip_cli.config.schema import Config
from snip_cli.errors import RunError, SnipError
from snip_cli.models.pretrained import with_weights_hash
from snip_cli.report.cells import cells
from snip_cli.report.figures.errors import write_curves
from snip_cli.report.records import read_folders
from snip_cli.report.tables.errors import as_text
from snip_cli.run.ancestors import ancestors
from snip_cli.run.checks import check
from snip_cli.run.pipeline import run
from snip_cli.runfolder import record
from snip_cli.runfolder.folder import open_folder
from snip_cli.runtime.device import find_device
from snip_cli.runtime.files import make_writable
from snip_cli.runtime.signals import ending_with

log = logging.getLogger("snip_cli")

# The experiment of `snip-run` without arguments.
QUICKSTART = "quickstart"


def do_sweep(hydra: Hydra, sweep: Sweep, config_dir: Path | None) -> int:
    """Do all jobs of a sweep that are not done yet; return 1 if one failed, else 0.

    Raises:
        ConfigError: a job is impossible. This is raised before any work.
    """
    registry.load_all(config_dir)
    jobs = [replace(job, config=with_weights_hash(job.config)) for job in sweep.jobs]
    configs = [job.config for job in jobs]
    for config in configs:
        check(config)
    runs = one_job_per_folder(jobs)
    if configs[0].dry_run:
        print_plan([job.config for job in runs])
        return 0
    output_dir = common_output_dir(configs)
    if not runs_elsewhere(sweep.master):
        for config in configs:
            find_device(config.device)
    make_writable(output_dir)
    waiting = [job for job in runs if not record.is_done(job.config)]
    log.info("%s", plan(jobs, runs, waiting))
    overrides = [[*job.overrides, "hydra.mode=RUN"] for job in waiting]
    titles = title_jobs(waiting, jobs)
    parent = os.getpid() if runs_in_children(sweep.master) else None
    task = functools.partial(do_job, titles=titles, config_dir=config_dir, arguments=sys.argv[1:], parent=parent)
    returns = launch(hydra, sweep.master, overrides, task) if waiting else []
    failures = find_failures(waiting, returns)
    print_results(output_dir, runs, failures)
    if sweep.master.hydra.runtime.choices.experiment == QUICKSTART:
        suggest_next_commands(output_dir)
    return RunError.exit_code if failures else 0


def do_job(
    composed: DictConfig,
    titles: Sequence[str],
    config_dir: Path | None,
    arguments: Sequence[str],
    parent: int | None,
) -> str | None:
    """Do one job, in the process that the launcher chose.

    Args:
        composed: the composed values of the job. Hydra knows the number of the job.
        titles: the first line to log, of every launched job.
        config_dir: the folder of the user's own files.
        arguments: those of the sweep's command, for `env.json`. Another process has the arguments of its launcher.
        parent: the process id of the sweep, if this process is to end with it.

    Returns:
        What failed, in one sentence, so that the sweep continues; None if nothing failed.
    """
    sys.argv[1:] = arguments
    with ending_with(parent), console():
        log.info("%s", titles[HydraConfig.get().job.num])
        try:
            with exits_reported():
                registry.load_all(config_dir)
                config = with_weights_hash(load(composed))
                run(config, wait=True)  # another sweep may be doing it
                if config.compact:
                    compact_once(config)
        except SnipError as error:
            sentence = str(error)
        except Exception as error:
            sentence = "; ".join([f"unexpected {type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
        else:
            return None
        log.error("failed: %s", sentence)
        return sentence


def compact_once(config: Config) -> None:
    """Make the compact network of a finished run, unless another process makes it."""
    from snip_cli.compact.stage import compact_finished

    with open_folder(config.folder, wait=True):
        if not record.is_done(config):
            compact_finished(config)


def find_failures(jobs: Sequence[Job], returns: Sequence[JobReturn]) -> dict[Path, str]:
    """Return why each job without a result failed, by folder. The folder decides: a job can die without returning."""
    failures = {}
    for number, job in enumerate(jobs):
        if not record.is_done(job.config):
            returned = returns[number] if number < len(returns) else None
            reason = returned.return_value if returned and returned.status is JobStatus.COMPLETED else None
            has_begun = (job.config.folder / "run.log").exists()
            default = "it ended without a result; see its run.log" if has_begun else "it did not start"
            failures[job.config.folder] = reason or f"{default}; the same command continues it"
    return failures


def print_results(output_dir: Path, runs: Sequence[Job], failures: dict[Path, str]) -> None:
    """Print the table of the sweep, its failures and how to look at its curves; write the curves for TensorBoard."""
    log.info("\n%s", as_text(cells(read_folders(folders_of(job.config for job in runs)))))
    for folder, reason in failures.items():
        log.error("\nfailed: %s\n  %s", folder, reason)
    try:
        write_curves(output_dir)
    except OSError as error:
        log.warning("the curves for TensorBoard could not be written: %s", error)
    quoted = shlex.quote(str(output_dir))
    log.info("\nthe runs are in %s: %s --logdir %s", quoted, command("tensorboard"), quoted)


def folders_of(configs: Iterable[Config]) -> list[Path]:
    """Return the folders of the runs and, before each, of its ancestors: their errors are points on the same curve."""
    return list(dict.fromkeys(run.folder for config in configs for run in [*ancestors(config), config]))


def suggest_next_commands(output_dir: Path) -> None:
    """Log what to type after the quickstart."""
    log.info("  %s %s --figure error.png", command("snip-report"), shlex.quote(str(output_dir)))
    log.info("  %s experiment=table1_lenet_300_100 seeds=3", command("snip-run"))


def command(name: str) -> str:
    """Return a command as it can be typed here: its name, or its path if its environment is not active."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) or not beside.exists() else shlex.quote(str(beside))
