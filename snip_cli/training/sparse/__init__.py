"""Training with the kept weights alone, on a processor, by kernels that numba compiles.

Import: `choice`, through `training.choice`. Nothing else here is imported before a training begins, because numba takes its time.
May import what `training` may, and numba.
"""
