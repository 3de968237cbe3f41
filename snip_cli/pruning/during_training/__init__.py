"""Methods whose mask changes while the network trains: one file each, found by looking. Each gives a pruner.

What several methods need lies here beside them: the pruner that rewires. Nothing is imported from here but by tests and by each other's
shared files. May import pruning's protocol and what that may import.
"""
