"""`python -m snip_cli` is `snip-run`."""

import sys

from snip_cli.commands.snip_run import main

sys.exit(main())
