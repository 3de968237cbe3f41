"""Hands the jobs of a sweep to Hydra's launcher: in this process (basic), in several (joblib), or to SLURM (submitit).

`failures_returned` replaces a method of submitit, which no other file may do. Tried with submitit 1.5.4 and
hydra-submitit-launcher 1.2.0 (`submitit>=1.5` is required).
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import TaskFunction
from omegaconf import DictConfig

from snip_cli.config.hydra_internals import Hydra, make_launcher
from snip_cli.errors import ConfigError

log = logging.getLogger("snip_cli")


def runs_elsewhere(master: DictConfig) -> bool:
    """Return whether the launcher hands the jobs to a cluster, whose machines can differ from this one."""
    return str(master.hydra.launcher._target_).endswith(".SlurmLauncher")


def runs_in_children(master: DictConfig) -> bool:
    """Return whether the launcher does the jobs in processes that this one starts itself."""
    return str(master.hydra.launcher._target_).endswith(".JoblibLauncher")


def launch(
    hydra: Hydra, master: DictConfig, overrides: Sequence[Sequence[str]], task: TaskFunction
) -> Sequence[JobReturn]:
    """Do `task` for the overrides of each job, through the launcher that the configuration names; wait for all jobs.

    Returns:
        What the jobs returned, in their order; nothing if the launcher itself failed.

    Raises:
        ConfigError: the launcher is given 0 processes.
    """
    if master.hydra.launcher.get("n_jobs") == 0:
        raise ConfigError("hydra.launcher.n_jobs must be at least 1, or -1 for one process per core: got 0.")
    launcher = make_launcher(hydra, master, task)
    if runs_elsewhere(master):
        log.info("handed to SLURM (`squeue --me`); a run logs its progress to the run.log in its folder")
    try:
        with failures_returned() if "submitit" in type(launcher).__module__ else nullcontext():
            returns: Sequence[JobReturn] = launcher.launch([list(job) for job in overrides], initial_job_idx=0)
            return returns
    except KeyboardInterrupt as stop:
        if runs_elsewhere(master):
            stop.args = (
                "the jobs continue in the cluster (`squeue --me`, `scancel JOB`). "
                "Once they are done, the same command shows their table.",
            )
        raise
    except Exception as error:  # such as a worker process that was killed; the folders show which jobs are done
        log.error("the launcher failed: %s: %s", type(error).__name__, " ".join(str(error).split()))
        return []


@contextmanager
def failures_returned() -> Iterator[None]:
    """Within this context, a job of submitit that died without raising returns a sentence about its failure.

    The launcher would otherwise raise at the first such job, and would not wait for the jobs after it.
    """
    from submitit import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    results = Job.results

    def results_or_failure(job: Any) -> list[JobReturn]:
        try:
            returned: list[JobReturn] = results(job)
        except (FailedJobError, UncompletedJobError):
            failure = JobReturn(status=JobStatus.COMPLETED)
            failure.return_value = (
                f"job {job.job_id} ended without a result (state {job.state}); see {job.paths.stderr}"
            )
            return [failure]
        return returned

    Job.results = results_or_failure  # type: ignore[method-assign, assignment]  # there is no hook for this
    try:
        yield
    finally:
        Job.results = results  # type: ignore[method-assign]
