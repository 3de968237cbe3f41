"""A sweep's jobs, handed to Hydra's launcher: one after another here (basic), several processes (joblib), a cluster (submitit)."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from snip_cli.errors import ConfigError

log = logging.getLogger("snip_cli")


def runs_elsewhere(master: DictConfig) -> bool:
    """Whether the launcher hands the jobs to a cluster, whose machines need not be like this one."""
    return master.hydra.launcher._target_.endswith(".SlurmLauncher")


def launch(
    hydra: Hydra, master: DictConfig, overrides: Sequence[Sequence[str]], task: TaskFunction
) -> Sequence[JobReturn]:
    """Do `task` for each job's overrides, through the launcher that the configuration names, and wait for all.

    Gives what the jobs returned, in their order, or nothing where the launcher itself failed. Raises ConfigError for no process at all.
    """
    if master.hydra.launcher.get("n_jobs") == 0:
        raise ConfigError("hydra.launcher.n_jobs=0 is no process: give at least 1, or -1 for one a core.")
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(master)),
        task_function=task,
        config=master,
    )
    if runs_elsewhere(master):
        log.info("handed to SLURM (`squeue --me`); a run's progress is in the run.log of its folder")
    try:
        with every_end_awaited() if "submitit" in type(launcher).__module__ else nullcontext():
            return launcher.launch([list(job) for job in overrides], initial_job_idx=0)
    except KeyboardInterrupt:
        if runs_elsewhere(master):
            raise KeyboardInterrupt(
                "the jobs go on in the cluster (`squeue --me`, `scancel JOB`); once they are done, the same command shows their table."
            ) from None
        raise
    except Exception as error:  # as where a worker process was killed; the folders tell which jobs are done
        log.error("the launcher failed: %s: %s", type(error).__name__, " ".join(str(error).split()))
        return []


@contextmanager
def every_end_awaited() -> Iterator[None]:
    """While this lasts, a job of submitit that died without a word returns the sentence of its failure.

    The launcher would raise at the first such job, and leave those behind it to run unawaited.
    """
    from submitit import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    results = Job.results

    def results_or_failure(job: Job) -> list[JobReturn]:
        try:
            return results(job)
        except (FailedJobError, UncompletedJobError):
            failure = JobReturn(status=JobStatus.COMPLETED)
            failure.return_value = (
                f"job {job.job_id} ended without a result (state {job.state}); see {job.paths.stderr}"
            )
            return [failure]

    Job.results = results_or_failure
    try:
        yield
    finally:
        Job.results = results
