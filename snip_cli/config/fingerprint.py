"""What determines a run's result, of the plain dictionary of its configuration, and the hash that its folder is named by.

Nothing in this file imports torch.
"""

import copy
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snip_cli.config.typed import SECTIONS, default_of

# Settings that came later than the first runs: at their default they leave a run's hash as it was.
LATER = {
    "dataset": ("held_out", "augmentation", "translate_pixels", "sizes", "random_labels", "options"),
    "model": ("weights",),
    "method": ("trained", "samples_per_class", "classes", "sanity"),
    "schedule": ("nesterov", "warmup", "optimizer", "train_error"),
}

# Where a result is kept or computed, how many there are of it, and what is done with it afterwards.
NOT_OF_THE_RESULT = (
    "seeds",
    "replicates",
    "device",
    "output_dir",
    "dry_run",
    "compile",
    "deterministic",
    "compact",
)


def identity_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """`settings_of` as a run's hash has them: without those that came later and are at their default, and with weights by their content."""
    everything = settings_of(config)
    if not everything["sync_batchnorm"]:
        del everything["sync_batchnorm"]
    for name, keys in LATER.items():
        for key in keys if name in everything else ():
            if everything[name][key] == default_of(SECTIONS[name], key):
                del everything[name][key]
    if config["model"]["weights"]:
        everything["model"]["weights"] = content_of(config["model"]["weights"])
    return everything


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """All that determines the result, and nothing else: not where it is kept or computed, how many seeds, or how often it is saved.

    `config` is a `Config` as `dataclasses.asdict` gives it; it stays as it is.
    """
    everything = {key: copy.deepcopy(value) for key, value in config.items() if key not in NOT_OF_THE_RESULT}
    del everything["dataset"]["root"], everything["dataset"]["workers"]
    for schedule in ("schedule", "dense_schedule"):
        if everything[schedule] is None:
            del everything[schedule]
        else:
            del everything[schedule]["name"], everything[schedule]["checkpoint_every"]
    if config["sparsity"] == 0:
        everything.pop("dense_schedule", None)
        for key in ("method", "init", "sparsity"):
            del everything[key]
    elif config["method"]["trained"]:  # what is scored was drawn by init_train
        del everything["init"]
    for section in everything.values():
        if isinstance(section, dict) and "options" in section:
            section["options"] = {key: _without_point(value) for key, value in section["options"].items()}
    return everything


def digest(settings: Mapping[str, Any]) -> str:
    """A short hash of settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def content_of(weights: str) -> str:
    """A hash of the weights in the file called `weights`, or the name itself where there is no such file: torchvision's weights go by name.

    Of a run's checkpoint it is that of the seed that is taken, so that more seeds leave it as it is; of any other file, of its bytes.
    """
    path = Path(weights)
    if not path.is_file():
        return weights
    status = path.stat()
    return _hash_of_file(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _hash_of_file(path: Path, size: int, changed: int) -> str:
    """`content_of` for a file that is there; its size and time tell whether it is still the one that was hashed."""
    from snip_cli.models.pretrained import hash_of_run  # which imports torch: only who names a file waits for it

    if found := hash_of_run(path):
        return found
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_point(value: Any) -> Any:
    """A whole number as an int, so that 1 and 1.0 are the same option."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
