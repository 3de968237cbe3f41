"""`python -m snip_cli` is `snip-run`."""

import sys

from snip_cli.cli import main

sys.exit(main())
