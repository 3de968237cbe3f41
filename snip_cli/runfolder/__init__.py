"""All that is written to or read from a run's folder: `recorder.py` writes it, `record.py` reads it, `results.py` says what a result is.

Anything here may be imported by the rooms above (pruning, training, compact, run, report, commands). This room imports config, runtime, registry
and errors only; `record`, `results` and `folder` without torch.
"""
