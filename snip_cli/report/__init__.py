"""Run folders → tables, figures and TensorBoard curves. Nothing in this package imports torch."""
