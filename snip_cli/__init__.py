"""snip-run: prune a network, train it, and record its error and sparsity.

`prune`, `apply_mask` and `load_run` can be imported from here. The root holds only this file, __main__, errors and registry; all
else lies in folders:

    commands/    what is typed: snip-run, sweeps and launchers, dry run, evaluation, snip-report, snip-export
    config/      schema, composition by Hydra, and the fingerprint that names a run's folder
    run/         the pipeline of one run, the checks before any work, a run's ancestors
    runfolder/   everything that is written to or read from a run's folder
    runtime/     device, processes, random streams, environment
    data/        one file per data set; resident and streamed batches; augmentation
    models/      one file per architecture family; initialisers; pretrained weights
    pruning/     the protocol of methods; masks; at_init/, after_training/, during_training/: one file per method
    training/    loop, trainer, evaluation; stacked/: many seeds as one network; sparse/: kept weights alone
    compact/     networks without what their mask has emptied; effective sparsity
    report/      tables, figures and published numbers, from run folders

Imports go one way: commands → run → training, compact → pruning → models, data, runfolder → config, runtime. This file may import
every folder, but only on use.
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
