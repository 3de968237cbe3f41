"""Convolutional networks with batch-norm, whose convolutions each have the form that suits their density; the rest is PyTorch's.

May import what `training.sparse` may import.
"""
