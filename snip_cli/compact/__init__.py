"""The network that is really smaller: what a mask has emptied is removed, and the outputs stay the same."""

from snip_cli.compact.files import load
from snip_cli.compact.network import compact

__all__ = ["compact", "load"]
