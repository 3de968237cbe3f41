"""`python -m snip_cli.report` is `snip-report`."""

import sys

from snip_cli.report.cli import main

sys.exit(main())
