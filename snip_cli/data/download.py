"""Downloads a data set once, in the run that comes first, and detects damaged files."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from snip_cli.errors import ConfigError
from snip_cli.runtime.locks import hold


def fetch_once(root: Path, name: str, fetch: Callable[[], object], is_there: Callable[[], bool], remedy: str) -> None:
    """Call `fetch` for the data set `name` below `root`, unless another run fetches it first.

    Args:
        root: the folder of data sets.
        name: the data set's name, for the lock file and the error.
        fetch: downloads the data set.
        is_there: whether the data set exists.
        remedy: what the user can do if the download fails; the end of the error.

    Raises:
        ConfigError: the download fails, or the data set is still incomplete after it.
    """
    reason = "the downloaded files are incomplete"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with hold(root / f".{name}.lock", f"fetching {name}"):
            if not is_there():
                fetch()
        if is_there():
            return
    except ConfigError:
        raise
    except Exception as error:  # a failed download raises URLError, RuntimeError, OSError, zlib.error and more
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    raise ConfigError(f"{name} is not in {root} and cannot be downloaded ({reason}): {remedy}")


def check_md5(path: Path, md5: str) -> None:
    """Raise ConfigError unless the MD5 of the file is `md5`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise ConfigError(
            f"{path} is truncated or altered (MD5 {found}, expected {md5}): delete it and run again to download it."
        )
