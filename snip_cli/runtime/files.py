"""Files that a crash cannot leave half written, and readers that name what is damaged. Only `load_tensors` imports torch."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from snip_cli.errors import ConfigError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that after a crash at any moment it holds either the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    if os.name == "posix":  # other systems cannot open a folder to synchronise it
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write text with `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()))


def make_writable(folder: Path) -> None:
    """Create a folder and try to write to it. Raises ConfigError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{folder} is not writable ({error.strerror}): choose another output_dir.") from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None where there is no file. Raises ConfigError where it is damaged."""
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not an object")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is damaged ({error}): delete it, and the command that trained the run writes it again."
        ) from error
    return content


def load_tensors(path: Path, remedy: str) -> Any:
    """Return what `torch.save` wrote, on the CPU. Nothing but tensors and plain Python is unpickled.

    Args:
        path: the file.
        remedy: what the user can do about a file that cannot be read; the end of the error's sentence.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: the file is damaged or holds something else.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch.load raises whatever its unpickler and the zip reader meet
        raise ConfigError(
            f"{path} is damaged, or holds more than tensors and plain Python, and cannot be read: {remedy}."
        ) from error
