"""Methods that score a network before it is trained; one file each, found by looking.

Nothing is imported from here but by tests. May import pruning's protocol and what that may import.
"""
