"""How a Python script tells of a failure: in one sentence, as the commands do."""

import sys
from collections.abc import Callable
from pathlib import Path

from snip_cli.errors import SnipError


def told(main: Callable[[], None]) -> int:
    """Do what `main` does; gives the exit code, after the sentence of a failure that has one."""
    try:
        main()
    except SnipError as error:
        print(f"scripts/{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0
