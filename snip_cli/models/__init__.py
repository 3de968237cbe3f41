"""Network architectures (one file per family), initialisers, pretrained weights, and which parameters can be pruned.

Use `build_model`, `weightless_model`, `drawn_model` from building.py and `prunable_parameters`, `PRUNABLE_LAYERS` from
prunable.py. May import config, runtime, registry and errors.
"""
