"""Whether image files are images: looked at once before training, since a streamed one would be met hours into it."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from snip_cli.data.cache import FOLDER, fingerprint
from snip_cli.data.decode import AT_ONCE, MOST_THREADS
from snip_cli.errors import ConfigError


def require_readable(base: Path, paths: Sequence[Path]) -> None:
    """Raise ConfigError, naming the file, unless every one of `paths`, which lie below `base`, begins as an image does.

    The files' heads alone are read; one that breaks off later is named when it is decoded. That all are well is remembered in
    `base`/.snip-run until one of them is another.
    """
    mark = base / FOLDER / f"readable-{fingerprint(base, paths, 0, 0)[:16]}"
    if mark.exists():
        return
    parts = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
    with (
        ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool,
        tqdm(total=len(paths), desc="checking", unit="image", disable=None, leave=False, dynamic_ncols=True) as bar,
    ):
        for part in pool.map(check_heads, parts):
            bar.update(part)
    with suppress(OSError):  # it is looked at again where it cannot be remembered
        mark.parent.mkdir(exist_ok=True)
        mark.touch()


def check_heads(paths: Sequence[Path]) -> int:
    """The number of `paths`; raises ConfigError at the first that is no image."""
    for path in paths:
        try:
            Image.open(path).close()
        except Exception as error:  # PIL raises OSError, SyntaxError, struct.error and more, by format
            raise ConfigError(
                f"{path} is not an image ({' '.join(str(error).split())}): copy it again or delete it."
            ) from error
    return len(paths)
