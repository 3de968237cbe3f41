"""Training: the loop, one network beside its pruner, evaluation, and the choice of how seeds train together.

Import: `choice.training_of`, `choice.at_once`, `loop.Training`, `evaluation`.
May import pruning, models, data, runfolder, config, runtime, registry and errors.
"""
