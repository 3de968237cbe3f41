"""Fetching a data set: once, by whichever run comes first; and telling a whole file from a damaged one."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from snip_cli.errors import ConfigError


def fetch_once(root: Path, name: str, fetch: Callable[[], object], is_there: Callable[[], bool], remedy: str) -> None:
    """Call `fetch` unless `is_there` by the time that no other run is fetching the data set `name` below `root`.

    Raises ConfigError, with the reason in one line and the remedy, where it fails or the data set is not there after it.
    """
    reason = "the download left files out"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            if not is_there():
                fetch()
        if is_there():
            return
    except ConfigError:
        raise
    except Exception as error:  # URLError, RuntimeError, OSError, zlib.error and more, for a failed download
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    raise ConfigError(f"{name} is not in {root} and cannot be downloaded ({reason}): {remedy}")


def check_md5(path: Path, md5: str) -> None:
    """Raise ConfigError unless the file's MD5 is `md5`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise ConfigError(
            f"{path} is truncated or altered (MD5 {found}, expected {md5}): delete it and run again to download it anew."
        )
