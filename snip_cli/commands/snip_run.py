"""snip-run: reads the command line, answers what needs no torch, and hands the rest to a run, a sweep or an evaluation.

Nothing here imports torch before a run starts: --help and every TAB would wait for it.
"""

import argparse
import functools
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from snip_cli import __version__, registry
from snip_cli.commands.console import console, exit_code_of, exits_reported
from snip_cli.commands.declared import declared_options
from snip_cli.commands.help import print_help, sections_asked
from snip_cli.config.composition import CONFIG_NAME, Composer, composer, small_images
from snip_cli.config.epochs import as_iterations, require_one_length
from snip_cli.config.hydra_internals import argument_parser
from snip_cli.config.quoting import in_home, quote_path
from snip_cli.config.reading import load, resolved
from snip_cli.config.renamed import notices, rename_override
from snip_cli.errors import ConfigError

log = logging.getLogger("snip_cli")

WHEN_STOPPED = "stopped; the same command continues from the last checkpoint or finished step."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `snip-run` with `arguments` (default: those of the process) and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"snip-run {__version__}")
        return 0
    return exit_code_of("snip-run", functools.partial(run_command, given), when_stopped=WHEN_STOPPED)


def run_command(arguments: list[str]) -> int:
    """Do what the arguments ask for and return the exit code."""
    with console():
        flags = parse(arguments or ["experiment=quickstart"])
        with composer(flags.config_dir, functools.partial(declared_options, flags.config_dir)) as compose:
            if answer(compose, flags):
                return 0
            with exits_reported():
                return start(compose, flags)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return flags and overrides, which may come in any order; raise ConfigError for an unknown or unsupported flag."""
    flags, unknown = argument_parser().parse_known_intermixed_args(list(arguments))
    for word in unknown:
        setting = word.lstrip("-") if "=" in word else f"{word.lstrip('-')}=VALUE"
        hint = f" Settings are written without dashes: {setting}." if word.startswith("--") else ""
        raise ConfigError(f"There is no flag '{word}'; `snip-run --help` lists them.{hint}")
    for name in ("config_name", "config_path", "experimental_rerun"):
        if getattr(flags, name):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} is not supported; --config-dir DIR adds configurations of your own.")
    flags.config_dir = Path(flags.config_dir).expanduser() if flags.config_dir else None
    require_one_length(flags.overrides)
    renamed = [with_new_keys(as_iterations(rename_override(override))) for override in flags.overrides]
    flags.overrides = [quote_path(override, several=flags.multirun) for override in renamed]
    return flags


def with_new_keys(override: str) -> str:
    """Return an override that also works with a schedule of the user's own whose YAML does not have the key."""
    return f"++{override}" if override.startswith(("schedule.anneal=", "schedule.label_smoothing=")) else override


def answer(compose: Composer, flags: argparse.Namespace) -> bool:
    """Answer --help, --cfg, --info and tab completion through Hydra; return whether one of them was asked for."""
    hydra = compose.hydra
    sections = sections_asked(flags) if flags.help else []
    if flags.help or flags.cfg:
        composed = compose.compose(flags.overrides)  # reports a mistake in one sentence, which Hydra would not
        if flags.resolve:
            resolved(composed)
        report_old_spellings()
    if flags.help:
        print_help(compose, flags, sections)
    elif flags.hydra_help:
        hydra.hydra_help(CONFIG_NAME, argument_parser(), flags)
    elif flags.cfg:
        hydra.show_cfg(CONFIG_NAME, flags.overrides, flags.cfg, flags.package, flags.resolve)
    elif flags.info:
        hydra.show_info(flags.info, CONFIG_NAME, flags.overrides)
    elif flags.shell_completion:
        hydra.shell_completion(CONFIG_NAME, flags.overrides)
    else:
        return False
    return True


def start(compose: Composer, flags: argparse.Namespace) -> int:
    """Start a run, a sweep or an evaluation and return the exit code."""
    if flags.multirun or compose.is_sweep(flags.overrides):
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise ConfigError("torchrun trains one run on several processes: leave out -m and experiments that sweep.")
        sweep = compose.sweep(flags.overrides)
        report_old_spellings()
        log_notes(sweep.notes)
        from snip_cli.commands.sweep import do_sweep

        return do_sweep(compose.hydra, sweep, flags.config_dir)
    composed = compose.compose(flags.overrides)
    report_old_spellings()
    start_one(compose, composed, flags)
    return 0


def start_one(compose: Composer, composed: DictConfig, flags: argparse.Namespace) -> None:
    """Do one run, or the dry run or evaluation that the composed values ask for instead."""
    config = load(composed)
    if composed.eval is None:
        log_notes([compose.unusual(composed), small_images(config)])
    registry.load_all(flags.config_dir)
    from snip_cli.models.pretrained import with_weights_hash

    if composed.eval is not None:
        check_evaluation(flags.overrides)
        from snip_cli.commands.evaluate import evaluate_again

        evaluate_again(Path(in_home(str(composed.eval))), device=config.device, root=config.dataset.root)
    elif config.dry_run:
        from snip_cli.commands.dry_run import print_plan

        print_plan([with_weights_hash(config)])
    else:
        from snip_cli.run.pipeline import run

        config = with_weights_hash(config)
        run(config)
        if config.compact:
            from snip_cli.compact.stage import compact_finished

            compact_finished(config)


def check_evaluation(overrides: Sequence[str]) -> None:
    """Raise ConfigError for settings that an evaluation would ignore."""
    keys = {override: override.partition("=")[0] for override in overrides}
    used = ("eval", "device", "dataset.root")
    ignored = [override for override, key in keys.items() if key not in used and not key.startswith("hydra")]
    if ignored:
        raise ConfigError(
            f"eval evaluates a run as it was trained, and would ignore {' '.join(ignored)}: "
            "leave out all settings but device and dataset.root."
        )


def report_old_spellings() -> None:
    """Print one line for each setting given under an earlier name; under torchrun, in the first process only."""
    for notice in notices():
        if is_first_process():
            print(f"snip-run: {notice}", file=sys.stderr)


def log_notes(notes: Sequence[str | None]) -> None:
    """Log what is unusual about a command; under torchrun, in the first process only."""
    for note in filter(None, notes):
        if is_first_process():
            log.info("%s", note)


def is_first_process() -> bool:
    """Return whether this is the first process, or the only one."""
    return os.environ.get("RANK", "0") == "0"
