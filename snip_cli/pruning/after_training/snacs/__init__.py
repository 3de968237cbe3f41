"""SNACS (Ganesh et al. 2020): prune a trained network once, by adaptive conditional mutual information."""

from snip_cli.pruning.after_training.snacs import method as method  # registers it
