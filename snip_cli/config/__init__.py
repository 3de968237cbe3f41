"""Command line and YAML → `Config`, typed and checked, and the hash of it that names a run's folder.

Import `Config` from `schema`, its sections from `sections`, `load`, `read` and `to_yaml` from `reading`, and `composer`
from `composition`.
Imports `registry` and `errors` only, and never torch.
"""
