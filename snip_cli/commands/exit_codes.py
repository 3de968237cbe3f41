"""The one place that turns what a command raises into its message and its exit code."""

import os
import sys
import traceback
from collections.abc import Callable

from snip_cli.errors import SnipError

INTERRUPTED = 130


def exit_code_of(command: str, work: Callable[[], int], *, when_stopped: str = "stopped.") -> int:
    """Do the work of a command and return its exit code.

    Args:
        command: the name that messages on standard error begin with.
        work: returns the exit code, or raises.
        when_stopped: what to print after Ctrl-C, unless the KeyboardInterrupt has a message.

    Returns:
        What `work` returns, 2 for a ConfigError, 1 for any other error and for a closed pipe, 130 after Ctrl-C.
    """
    try:
        return work()
    except SnipError as error:
        rank = int(os.environ.get("RANK", 0))  # under torchrun
        print(f"{command}{f' (process {rank})' if rank else ''}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print(f"\n{command}: {str(stop) or when_stopped}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        sys.stdout = None  # otherwise Python reports at exit that it cannot flush
        return SnipError.exit_code
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        if not notes:  # a run notes where its log holds the traceback
            traceback.print_exc()
        print("; ".join([f"{command}: unexpected {type(error).__name__}: {error}", *notes]), file=sys.stderr)
        return SnipError.exit_code
