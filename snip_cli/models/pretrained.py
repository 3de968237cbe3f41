"""Weights to start from: torchvision's, a state dict, or a run's checkpoint."""

import dataclasses
import functools
import hashlib
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from snip_cli.config import reading as configuration
from snip_cli.config.schema import Config
from snip_cli.errors import ConfigError
from snip_cli.models.names import same_names
from snip_cli.runtime.files import load_tensors

# The number of batches that batch-norm has seen. Older files lack it, and nothing here uses it.
COUNTER = "num_batches_tracked"
# The number of models that AveragedModel has averaged.
AVERAGED = "n_averaged"


def load_weights(model: nn.Module, name: str, weights: str) -> None:
    """Load stored parameters and buffers into `model`, on any device and of any dtype.

    Args:
        model: the network.
        name: its name in the registry.
        weights: the name of torchvision's weights, such as `IMAGENET1K_V1`, for a model that is torchvision's model of
            the same name (they are downloaded once, into torch.hub's folder); or the path of a file: a state dict, or a
            run's `checkpoint.pt`, whose first seed is used.

    Raises:
        ConfigError: no such weights or file, a failed download, a damaged file, or weights of another model or number
            of classes.
    """
    published = torchvision_weights(model, name)
    path = Path(weights)
    if weights in published:
        state = fetch(published[weights])
    elif path.is_file():
        state = state_dict(load_tensors(path, "restore it, or name another file"), path)
    else:
        others = f", or one of torchvision's weights for {name} ({', '.join(published)})" if published else ""
        raise ConfigError(
            f"pretrained={weights} does not exist: give the path of a state dict or of a run's checkpoint.pt{others}."
        )
    state = without_wrappers(state, model.state_dict())
    check_fit(model.state_dict(), state, f"pretrained={weights} does not fit this {name}")
    model.load_state_dict(state, strict=False)  # only the counter may be missing


def is_missing(weights: str) -> bool:
    """Return whether `weights` is a path, rather than a name of torchvision's, and there is no such file."""
    path = Path(weights)
    return bool(weights) and bool(path.suffix or len(path.parts) > 1) and not path.is_file()


def check_there(weights: str) -> None:
    """Raise ConfigError if `weights` is the path of a missing file or a run's folder, before any work is done."""
    if weights and (Path(weights) / "checkpoint.pt").is_file():
        raise ConfigError(
            f"pretrained={weights} is a run's folder, not a file: give {Path(weights) / 'checkpoint.pt'}."
        )
    if is_missing(weights):
        raise ConfigError(
            f"pretrained={weights} does not exist: give the path of a state dict or of a run's checkpoint.pt."
        )


def check_origin(weights: str, model: str, dataset: str) -> None:
    """Raise ConfigError if `weights` lies in the folder of a run of another model or data set.

    Other files are not checked.
    """
    beside = Path(weights).parent / "config.yaml"
    if not weights or not beside.is_file():
        return
    trained = configuration.read(beside)
    if (trained.model.name, trained.dataset.name) != (model, dataset):
        raise ConfigError(
            f"{weights} was trained as {trained.model.name} on {trained.dataset.name}, but this run is {model} on {dataset}: name a run of the same model and data set, or leave pretrained out to train one."
        )


def torchvision_weights(model: nn.Module, name: str) -> dict[str, Any]:
    """Return torchvision's weights by name, for torchvision's model of the same name; {} for any other model."""
    if not type(model).__module__.startswith("torchvision.models."):
        return {}
    from torchvision.models import get_model_weights, list_models

    name = name.removeprefix("torchvision.")
    # The alias DEFAULT is left out: it means different weights in different versions of torchvision.
    return {entry.name: entry for entry in get_model_weights(name)} if name in list_models() else {}


def fetch(entry: Any) -> dict[str, Tensor]:
    """Return the state dict of torchvision's weights `entry`, from torch.hub's folder or downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(entry.url).path).name
    if path.is_file():
        return load_tensors(path, "delete it to download it again")
    try:
        state: dict[str, Tensor] = entry.get_state_dict(
            progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
        )
        return state
    except Exception as error:  # URLError, OSError, RuntimeError for a wrong hash, http.client's errors and more
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"{entry.url} cannot be downloaded ({reason}): put {path.name} into {path.parent}, or give pretrained=FILE."
        ) from error


def with_weights_hash(config: Config) -> Config:
    """Return the configuration with `model.weights_hash`, which the folder of a run that starts from given weights
    needs.
    """
    if not config.model.weights:
        return config
    model = dataclasses.replace(config.model, weights_hash=hash_of_weights(config.model.weights))
    return dataclasses.replace(config, model=model)


def hash_of_weights(weights: str) -> str:
    """Return what identifies `weights` in a run's fingerprint.

    For a run's checkpoint it is a hash of the weights of its first seed, which is the seed that is used, so adding
    seeds does not change it. For any other file it is a hash of its bytes. If there is no such file it is `weights`
    itself, such as a name of torchvision's weights.
    """
    path = Path(weights)
    if not path.is_file():
        return weights
    status = path.stat()
    return _hash_of_file(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _hash_of_file(path: Path, size: int, changed: int) -> str:
    """Return `hash_of_weights` of an existing file.

    Its size and time are in the key of the cache, so a rewritten file is hashed again.
    """
    if found := hash_of_run(path):
        return found
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_of_run(content: Any) -> bool:
    """Return whether a file's content is a run's checkpoint."""
    return isinstance(content, dict) and {"format", "weights"} <= content.keys()


def hash_of_run(path: Path) -> str | None:
    """Return a hash of the weights that `load_weights` takes from a run's checkpoint; None if the file is no checkpoint
    or holds no weights.
    """
    try:
        content = load_tensors(path, "")
        return hash_of(state_dict(content, path)) if is_of_run(content) else None
    except ConfigError:
        return None


def hash_of(state: dict[str, Tensor]) -> str:
    """Return a hash of the names and numbers of a state dict."""
    content = hashlib.sha256()
    for name, tensor in state.items():
        content.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return content.hexdigest()


def state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file's content: the content itself, or the weights of the first seed in a run's
    checkpoint.
    """
    if is_of_run(content):
        if not content["weights"]:
            raise ConfigError(
                f"{path} has no seed whose training is finished: let the run finish, or name another file."
            )
        content = content["weights"][min(content["weights"])]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(
            f"{path} holds no weights: give what torch.save(model.state_dict(), FILE) wrote, or a run's checkpoint.pt."
        )
    return content


def check_fit(own: dict[str, Tensor], state: dict[str, Tensor], complaint: str) -> None:
    """Raise ConfigError, which begins with `complaint` and names the first missing and the first surplus key, or the first
    other shape, unless `state` has the keys and shapes of `own`.
    """
    keys = [[key for key in each if not key.endswith(COUNTER)] for each in (own, state)]
    missing = [f"it has no '{key}'" for key in keys[0] if key not in state]
    surplus = [f"the model has no '{key}'" for key in keys[1] if key not in own]
    misshapen = [
        f"its '{key}' has shape {tuple(state[key].shape)}, the model's has {tuple(own[key].shape)}"
        for key in keys[0]
        if key in state and own[key].shape != state[key].shape
    ]
    problems = [*missing[:1], *surplus[:1]] or misshapen[:1]
    if problems:
        raise ConfigError(
            f"{complaint}: {' and '.join(problems)}; choose weights of this model, image size and number of classes."
        )


def without_wrappers(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` under the names of the model's `own` state, if DataParallel, torch.compile or averaging renamed it."""
    names = same_names(state, own)
    renamed = {names.get(key, key): value for key, value in state.items()}
    if any(names[key] != key for key in names):
        renamed.pop(AVERAGED, None)
    return renamed
