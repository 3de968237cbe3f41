"""Functions that numba compiles: they see arrays and records of numbers, and neither PyTorch nor the configuration.

Import: `chain`, `recurrent`, `cells`, the records and `vectors`, from `training.sparse`. May import numba and numpy. Their arguments have numba's types, which Python's annotations cannot name.
"""
