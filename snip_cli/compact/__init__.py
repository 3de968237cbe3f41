"""Networks without the units and channels that a mask has emptied, and the effective sparsity of a mask.

Use `compact` and `load` from here, `Paths` from paths.py, and `compact_run` from stage.py.
May import training, pruning, models, data, runfolder, config, runtime, registry and errors; never run or commands.
"""

from snip_cli.compact.files import load
from snip_cli.compact.network import compact

__all__ = ["compact", "load"]
