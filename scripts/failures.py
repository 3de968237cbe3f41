"""Report the failure of a Python script in one sentence, as the commands do."""

import sys
from collections.abc import Callable
from pathlib import Path

from snip_cli.errors import SnipError


def run_main(main: Callable[[], None]) -> int:
    """Run `main` and return the exit code; a SnipError is printed to stderr as one sentence."""
    try:
        main()
    except SnipError as error:
        print(f"scripts/{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0
