"""Several seeds of one small network trained as one batch of matrices, or one network without its dead units.

`training.choice` imports from here. Imports from the training loop, pruning, models, data, config and runtime.
"""
