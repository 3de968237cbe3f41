"""SNACS (Ganesh et al., 2020, arXiv 2006.12463): prunes a trained network once, by adaptive conditional mutual information.

`method` is the whole of it; the estimator of conditional mutual information begins in `acmi`. Only scripts and tests import from here.
The files import each other, what lies beside this folder, `snip_cli.pruning` and the folders below it.
"""

from snip_cli.pruning.after_training.snacs import method as method  # registers it
