"""Pruning methods, one file each, and the mask they share."""
