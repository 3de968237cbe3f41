"""Architectures, one file a family, and the initialisers."""
