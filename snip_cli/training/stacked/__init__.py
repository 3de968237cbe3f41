"""Several seeds of one small network trained as one network with a leading axis, or one network without its dead units.

Import: `trainer.StackedTrainer`, through `training.choice`; compact takes `rows` for recurrent networks.
May import the training loop and what training may import.
"""
