"""Training and evaluation of networks whose mask is fixed or changes on the way.

`choice` decides in which form the seeds of a run train; `run` calls it, and `loop`, `trainer` and `evaluation` for what they offer.
Imports from pruning, models, data, config and runtime.
"""
