"""Methods whose mask changes while the network trains: one file each, found by looking. Each gives a pruner.

Nothing is imported from here but by tests. May import pruning's protocol and what that may import.
"""
