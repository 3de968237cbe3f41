"""The commands: snip-run (with its sweeps, dry runs and evaluations), snip-report and snip-export.

No other folder imports from here. May import every other folder, and torch only once a run or an export starts.
"""
