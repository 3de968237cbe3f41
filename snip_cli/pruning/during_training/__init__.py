"""Methods that change the mask while the network trains, one file each: a pruner beside the trainer (`pruning.method.Pruner`).

They are reached by their name in the registry; other rooms import nothing from here. Imports from pruning, models, data, config, runtime.
"""
