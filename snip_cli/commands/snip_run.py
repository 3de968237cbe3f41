"""snip-run: reads the command line, answers what needs no torch, and hands the rest to `run` or `sweep`.

Nothing here imports torch before a run really starts: --help and every tab would wait for it.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser

from snip_cli import __version__
from snip_cli.config import schema as configuration
from snip_cli.config.composition import CONFIG_NAME, Composer, composer
from snip_cli.errors import ConfigError, SnipError
from snip_cli.runtime.console import console

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `snip-run` with `arguments` (default: those of the process); gives the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(f"snip-run {__version__}")
        return 0
    try:
        with console():
            flags = parse(arguments or ["experiment=quickstart"])
            with composer(flags.config_dir) as compose:
                return 0 if answer(compose, flags) else start(compose, flags)
    except SnipError as error:
        rank = int(os.environ.get("RANK", 0))  # under torchrun
        print(f"snip-run{f' (process {rank})' if rank else ''}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print(
            f"\nsnip-run: {str(stop) or 'stopped; the same command goes on from the last checkpoint or finished step.'}",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stdout = None
        return SnipError.exit_code
    except Exception as error:
        if not (notes := getattr(error, "__notes__", [])):  # it happened outside any run, which would have kept it
            traceback.print_exc()
        print("; ".join([f"snip-run: unexpected {type(error).__name__}: {error}", *notes]), file=sys.stderr)
        return SnipError.exit_code


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Flags and overrides, in any order; raises ConfigError where a flag is unknown or not supported here."""
    flags, unknown = get_args_parser().parse_known_intermixed_args(list(arguments))
    for word in unknown:
        setting = word.lstrip("-") if "=" in word else f"{word.lstrip('-')}=VALUE"
        hint = f" Settings are written without dashes: {setting}." if word.startswith("--") else ""
        raise ConfigError(f"There is no flag '{word}'; `snip-run --help` lists them.{hint}")
    for name in ("config_name", "config_path", "experimental_rerun"):
        if getattr(flags, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} is not supported; --config-dir DIR adds configurations of your own."
            )
    flags.config_dir = Path(flags.config_dir).expanduser() if flags.config_dir else None
    return flags


def answer(compose: Composer, flags: argparse.Namespace) -> bool:
    """Answer --help, --cfg, --info and tab completion through Hydra; whether one of them was asked for."""
    hydra = compose.hydra
    if flags.help or flags.cfg:
        compose.compose(flags.overrides)  # so that a mistake is told in one sentence
    if flags.help:
        hydra.app_help(CONFIG_NAME, get_args_parser(), flags)
    elif flags.hydra_help:
        hydra.hydra_help(CONFIG_NAME, get_args_parser(), flags)
    elif flags.cfg:
        hydra.show_cfg(CONFIG_NAME, flags.overrides, flags.cfg, flags.package, flags.resolve)
    elif flags.info:
        hydra.show_info(flags.info, CONFIG_NAME, flags.overrides)
    elif flags.shell_completion:
        hydra.shell_completion(CONFIG_NAME, flags.overrides)
    else:
        return False
    return True


def check_evaluation(overrides: Sequence[str]) -> None:
    """Raise ConfigError where an evaluation is told what it would not heed."""
    keys = {override: override.partition("=")[0] for override in overrides}
    unheeded = [
        o for o, key in keys.items() if key not in ("eval", "device", "dataset.root") and not key.startswith("hydra")
    ]
    if unheeded:
        raise ConfigError(
            f"eval evaluates a run as it was trained: leave out {' '.join(unheeded)}; device and dataset.root may be given."
        )


def start(compose: Composer, flags: argparse.Namespace) -> int:
    """Begin a run, a sweep or an evaluation; gives the exit code."""
    if flags.multirun or compose.is_sweep(flags.overrides):
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise ConfigError("torchrun trains one run on several processes: leave out -m and experiments that sweep.")
        sweep = compose.sweep(flags.overrides)
        from snip_cli.commands.sweep import do_sweep

        return do_sweep(compose.hydra, sweep, flags.config_dir)
    composed = compose.compose(flags.overrides)
    from snip_cli import registry

    config = configuration.load(composed)
    registry.load_all(flags.config_dir)
    if composed.eval is not None:
        check_evaluation(flags.overrides)
        from snip_cli.commands.evaluate import evaluate_again

        evaluate_again(Path(composed.eval), device=config.device, root=config.dataset.root)
    elif config.dry_run:
        from snip_cli.commands.dry_run import print_plan

        print_plan([config])
    else:
        from snip_cli.compact.stage import compact_if_asked
        from snip_cli.run.pipeline import run

        run(config)
        compact_if_asked(config)
    return 0
