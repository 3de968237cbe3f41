"""Pruning: masks, the protocol of methods, and the methods themselves, each in the folder of its stage.

Import: `method` and `pruner` (the protocols), `options`, `mask`, `prune`, `ablation`. A method is found by name with `method.find_method`.
May import models, data, runfolder, config, runtime, registry and errors.
"""
