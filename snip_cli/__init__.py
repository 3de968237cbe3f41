"""snip-run: prune a network, train it, and record its error and sparsity.

`prune`, `apply_mask` and `load_run` can be imported from here. The root holds only this file, __main__, errors and registry; all
else lies in folders. May import every folder, but only on use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snip_cli.pruning.mask import apply_mask as apply_mask
    from snip_cli.run.loading import load_run as load_run
    from snip_cli.run.python import prune as prune

__all__ = ["apply_mask", "load_run", "prune"]
__version__ = "0.1.0"

_PLACES = {
    "apply_mask": "snip_cli.pruning.mask",
    "load_run": "snip_cli.run.loading",
    "prune": "snip_cli.run.python",
}


def __getattr__(name: str) -> Any:
    # Imported on use, because torch takes seconds and the command line imports this package for every --help and
    # completion.
    if name not in _PLACES:
        raise AttributeError(f"module 'snip_cli' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    # What a shell shows on TAB.
    return [*__all__, "__version__"]
