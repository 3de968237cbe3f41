"""Run folders → tables, figures and TensorBoard curves: records.py reads runs, cells.py groups their seeds, tables/ and figures/ show the cells
beside the numbers in published/. commands/ may import all of it.

This room imports runfolder's reader, config, runtime, registry and errors. A plain table imports no torch; figures import it where they read masks.
"""
