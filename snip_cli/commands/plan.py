"""What a sweep is going to do: the runs that its jobs are, and how the plan and the log name them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from snip_cli.commands.dry_run import state
from snip_cli.config.composition import Job
from snip_cli.config.fingerprint import not_hashed
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError

# The settings outside a run's name of which the larger value does the work of the smaller one too.
INCLUDING = ("seeds", "compact")


def common_output_dir(configs: Sequence[Config]) -> Path:
    """Return the folder that all jobs write to; raise ConfigError if they differ."""
    folders = sorted({config.output_dir for config in configs})
    if len(folders) > 1:
        raise ConfigError(
            f"output_dir must be one folder for the whole sweep: got {', '.join(folders)}. Run a sweep for each."
        )
    return Path(folders[0])


def one_job_per_folder(jobs: Sequence[Job]) -> list[Job]:
    """Return one job for each run folder: of the jobs that share a folder, the one that does the work of all.

    Raises ConfigError if there is none, because the jobs differ in how the run is done.
    """
    shared: dict[Path, list[Job]] = {}
    for job in jobs:
        shared.setdefault(job.config.folder, []).append(job)
    return [job_that_includes(same) for same in shared.values()]


def job_that_includes(same: Sequence[Job]) -> Job:
    """Return the job that does the work of all: it has the most seeds and, if any has it, `compact=true`."""
    most = max(same, key=lambda job: (job.config.seeds, job.config.compact))
    chosen = not_hashed(most.config)
    for job in same:
        for key, value in not_hashed(job.config).items():
            is_included = key in INCLUDING and value <= chosen[key]
            # Two schedules that differ in their names alone are the same.
            if not is_included and not key.endswith(".name") and value != chosen.get(key, value):
                given = " and ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in (chosen[key], value))
                raise ConfigError(
                    f"{key} does not name a run's folder, so a sweep cannot have several values of it: got {given}. "
                    "Give it one value, or run a sweep for each with an output_dir of its own."
                )
    return most


def plan(jobs: Sequence[Job], runs: Sequence[Job], waiting: Sequence[Job]) -> str:
    """Return the plan of the sweep in words: how many jobs, and for each run its state, its folder and its settings."""
    lines = [f"{counted(len(jobs), 'job')}{sharing(jobs, runs)}, {len(runs) - len(waiting)} done already:"]
    lines += [f"  {state(job.config):8} {job.config.folder}  {own_settings(job, jobs)}".rstrip() for job in runs]
    return "\n".join(lines)


def sharing(jobs: Sequence[Job], runs: Sequence[Job]) -> str:
    """Describe how many runs the jobs are, if some share one."""
    if len(runs) == len(jobs):
        return ""
    times = Counter(job.config.folder for job in jobs)
    only_references = all(job.config.is_reference for job in runs if times[job.config.folder] > 1)
    reason = "some share one, as methods do at sparsity 0" if only_references else "jobs with the same folder share one"
    return f" in {counted(len(runs), 'run')} ({reason})"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def own_settings(job: Job, jobs: Sequence[Job]) -> str:
    """Return the overrides of a job that not all jobs of the sweep have; an empty string for a single job."""
    return " ".join(word for word in job.overrides if not all(word in other.overrides for other in jobs))


def title_jobs(waiting: Sequence[Job], jobs: Sequence[Job]) -> list[str]:
    """Return the first line that each waiting job logs: its number and its own settings."""
    total = len(waiting)
    return [
        " · ".join(filter(None, (f"run {number} of {total}", own_settings(job, jobs))))
        for number, job in enumerate(waiting, 1)
    ]
