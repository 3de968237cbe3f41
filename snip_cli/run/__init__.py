"""One run: the pipeline from configuration to record, the checks before any work, and the runs that a run needs first.

Import: `pipeline.run`, `checks.check`, `ancestors.ancestors`. Only commands import from here; it may import every room but commands and report.
"""
