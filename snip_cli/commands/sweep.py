"""Many runs: the plan first, then what is left to do through Hydra's launcher, then the table and the failures."""

import functools
import logging
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from snip_cli import registry
from snip_cli.commands.dry_run import print_plan, state
from snip_cli.commands.launchers import launch, runs_elsewhere
from snip_cli.compact.stage import compact_if_asked
from snip_cli.config import schema as configuration
from snip_cli.config.composition import Job, Sweep
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError, RunError, SnipError
from snip_cli.report.cells import cells
from snip_cli.report.curves import write_curves
from snip_cli.report.records import read_folders
from snip_cli.report.table import as_text
from snip_cli.run.checks import check
from snip_cli.run.pipeline import run
from snip_cli.runfolder import record
from snip_cli.runfolder.folder import make_writable
from snip_cli.runtime.console import console
from snip_cli.runtime.device import find_device

log = logging.getLogger("snip_cli")

# The experiment of who types the command alone.
QUICKSTART = "quickstart"


def do_sweep(hydra: Hydra, sweep: Sweep, config_dir: Path | None) -> int:
    """Do all jobs of a sweep that are not done yet; gives 1 where one failed, else 0.

    Raises ConfigError, before any work, where a job is told what cannot be.
    """
    registry.load_all(config_dir)
    configs = [job.config for job in sweep.jobs]
    for config in configs:
        check(config)
    runs = one_job_a_folder(sweep.jobs)
    if configs[0].dry_run:
        print_plan([job.config for job in runs])
        return 0
    output_dir = common_output_dir(configs)
    if not runs_elsewhere(sweep.master):
        for config in configs:
            find_device(config.device)
    make_writable(output_dir)
    waiting = [job for job in runs if not record.is_done(job.config)]
    log.info("%s", plan(sweep.jobs, runs, waiting))
    overrides = [[*job.overrides, "hydra.mode=RUN"] for job in waiting]
    places = places_of(waiting, sweep.jobs)
    task = functools.partial(do_job, places=places, config_dir=config_dir, arguments=sys.argv[1:])
    returns = launch(hydra, sweep.master, overrides, task) if waiting else []
    failures = find_failures(waiting, returns)
    close(output_dir, runs, failures)
    if sweep.master.hydra.runtime.choices.experiment == QUICKSTART:
        suggest_next_commands(output_dir)
    return RunError.exit_code if failures else 0


def common_output_dir(configs: Sequence[Config]) -> Path:
    """The one folder that all jobs write to; raises ConfigError where they differ."""
    folders = sorted({config.output_dir for config in configs})
    if len(folders) > 1:
        raise ConfigError(f"output_dir cannot be swept over ({', '.join(folders)}): one sweep writes to one folder.")
    return Path(folders[0])


def one_job_a_folder(jobs: Sequence[Job]) -> list[Job]:
    """Of the jobs that share a run folder the one that asks for most seeds; the reference serves every method."""
    runs: dict[Path, Job] = {}
    for job in jobs:
        held = runs.setdefault(job.config.folder, job)
        if job.config.seeds > held.config.seeds:
            runs[job.config.folder] = job
    return list(runs.values())


def plan(jobs: Sequence[Job], runs: Sequence[Job], waiting: Sequence[Job]) -> str:
    """The sweep's plan in words: how many jobs, which folders with which settings, which are done already."""
    shared = f" in {len(runs)} runs (some share one, as methods do at sparsity 0)" if len(runs) < len(jobs) else ""
    lines = [f"{len(jobs)} job{'s' * (len(jobs) > 1)}{shared}, {len(runs) - len(waiting)} done already:"]
    lines += [f"  {state(job.config):8} {job.config.folder}  {own_settings(job, jobs)}".rstrip() for job in runs]
    return "\n".join(lines)


def own_settings(job: Job, jobs: Sequence[Job]) -> str:
    """The settings of a job that not all jobs of its sweep have, as they are typed; nothing where it is the only one."""
    return " ".join(word for word in job.overrides if not all(word in other.overrides for other in jobs))


def places_of(waiting: Sequence[Job], jobs: Sequence[Job]) -> list[str]:
    """What each job that is still to be done says first: how far the sweep is with it, and what is its own in it."""
    total = len(waiting)
    return [
        " · ".join(filter(None, (f"run {number} of {total}", own_settings(job, jobs))))
        for number, job in enumerate(waiting, 1)
    ]


def do_job(
    composed: DictConfig, places: Sequence[str], config_dir: Path | None = None, arguments: Sequence[str] | None = None
) -> str | None:
    """One job, in whatever process the launcher chose; gives the sentence of a failure, so that the sweep goes on past it.

    `places` is of all jobs that are launched, of which Hydra tells this one's number.
    `arguments` are those of the sweep's command, which `env.json` is to name: another process has its launcher's.
    """
    if arguments is not None:
        sys.argv[1:] = arguments
    with console():
        log.info("%s", places[HydraConfig.get().job.num])
        try:
            registry.load_all(config_dir)
            config = configuration.load(composed)
            run(config)
            compact_if_asked(config)
        except SnipError as error:
            sentence = str(error)
        except Exception as error:
            sentence = "; ".join([f"unexpected {type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
        else:
            return None
        log.error("failed: %s", sentence)
        return sentence


def find_failures(jobs: Sequence[Job], returns: Sequence[JobReturn]) -> dict[Path, str]:
    """The folders of the jobs that left no result, and why. The folder decides: a job may have died without a word."""
    failures = {}
    for number, job in enumerate(jobs):
        if not record.is_done(job.config):
            given = returns[number] if number < len(returns) else None
            reason = given.return_value if given is not None and given.status is JobStatus.COMPLETED else None
            begun = (job.config.folder / "run.log").exists()
            silence = "it ended without a result; see its run.log" if begun else "it did not begin"
            failures[job.config.folder] = reason or f"{silence}; the same command goes on with it"
    return failures


def close(output_dir: Path, runs: Sequence[Job], failures: dict[Path, str]) -> None:
    """Print the table of the sweep, its failures and how to look at its curves, which are drawn anew."""
    log.info("\n%s", as_text(cells(read_folders(folders_of(job.config for job in runs)))))
    for folder, reason in failures.items():
        log.error("\nfailed: %s\n  %s", folder, reason)
    try:
        write_curves(output_dir)
    except OSError as error:
        log.warning("the curves for TensorBoard could not be written: %s", error)
    folder = shlex.quote(str(output_dir))
    log.info("\nthe runs are in %s: %s --logdir %s", folder, command("tensorboard"), folder)


def folders_of(configs: Iterable[Config]) -> list[Path]:
    """The runs' folders, and those of the trained networks that they prune, whose errors are theirs at sparsity 0."""
    with_dense = [[config.dense, config] if config.needs_dense else [config] for config in configs]
    return list(dict.fromkeys(config.folder for pair in with_dense for config in pair))


def suggest_next_commands(output_dir: Path) -> None:
    """Print what to type after the quickstart."""
    log.info("  %s %s --figure error.png", command("snip-report"), shlex.quote(str(output_dir)))
    log.info("  %s experiment=table1_lenet_300_100 seeds=3", command("snip-run"))


def command(name: str) -> str:
    """A command as it can be typed here: its name, or its path where it lies in an environment that is not active."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) or not beside.exists() else shlex.quote(str(beside))
