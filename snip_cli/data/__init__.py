"""Data sets (one file each) and the normalised batches that training and pruning read from them.

Use `load_data` from loading.py, `Data`, `Split`, `Batch`, `draws` from splits.py and `class_balanced_sample` from
sample.py. May import config, runtime, registry and errors.
"""
