"""Files that a crash cannot leave half written, and readers that name what is damaged.

Only `write_tensors` and `load_tensors` import torch.
"""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from snip_cli.errors import ConfigError, RunError

CHUNK = 2**20
# The first bytes of what `torch.save` writes. Files of PyTorch before 1.6 are no zip archives and hold no checksum.
ZIP = b"PK\x03\x04"
# The attribute of a folder, which the CRC does not cover. PyTorch does not read the content of such a member.
DIRECTORY = 0x10
# What `save_tensors` adds at the end of the archive. Its length is no power of 2, so that a flipped bit cannot make it 0.
COMMENT = "sha256:{}"
COMMENT_SIZE = len(COMMENT.format(hashlib.sha256().hexdigest()))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within this context, a failure to write a file of a run's folder is a RunError: one sentence with the path."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.parent.is_dir():
            raise RunError(
                f"The folder {path.parent} was deleted while it was written to: start the same command again."
            ) from error
        remedy = "free space there or make it writable, and start the same command again"
        raise RunError(f"{path} cannot be written ({error.strerror or error}): {remedy}.") from error


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that after a crash at any moment it holds either the old content or the new, never a part.

    Raises OSError if that fails; then no part is left.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":  # other systems cannot open a folder to synchronise it
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes with `write_atomically`. Raises RunError if that fails."""
    with writing(path):
        write_atomically(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write text with `write_atomically`. Raises RunError if that fails."""
    write_bytes(path, text.encode())


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
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): make it readable.") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        raise damaged(path, f"it holds a {type(content).__name__}, not an object")
    return content


def damaged(path: Path, reason: object) -> ConfigError:
    """Return the error for a record of a run's folder that does not hold what it should."""
    return ConfigError(
        f"{path} is damaged ({reason}): delete it, and the command that trained the run writes it again."
    )


def save_tensors(path: Path, content: Any) -> None:
    """Write tensors and plain Python for `load_tensors`, with a hash of the file by which it notices any change.

    Raises RunError if the file cannot be written.
    """
    with writing(path):
        write_atomically(path, lambda file: write_tensors(file, content))


def write_tensors(file: BinaryIO, content: Any) -> None:
    """Write to an open file what `save_tensors` promises."""
    import torch

    try:
        torch.save(content, file)
    except RuntimeError as error:  # PyTorch covers a full disk, or Ctrl-C, by an error of its own
        raise error.__context__ or error from None
    _append_hash(file)


def load_tensors(path: Path, remedy: str) -> Any:
    """Return what `save_tensors` or `torch.save` wrote, on the CPU. Nothing but tensors and plain Python is unpickled.

    Args:
        path: the file.
        remedy: what the user can do about a file that cannot be read; the end of the error's sentence.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: the file cannot be read, has changed since it was written, or holds something else.
    """
    import torch

    try:
        if not _is_intact(path):
            raise ConfigError(f"{path} is damaged: its content does not match its checksum; {remedy}.")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, ConfigError):
        raise
    except (PermissionError, IsADirectoryError) as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): {remedy}.") from error
    except Exception as error:  # torch.load raises whatever its unpickler and the zip reader meet
        raise ConfigError(
            f"{path} is damaged, or holds more than tensors and plain Python, and cannot be read: {remedy}."
        ) from error


def _append_hash(file: BinaryIO) -> None:
    """Append a hash of the whole file as the comment of the zip archive, which other readers ignore."""
    file.seek(-2, os.SEEK_END)  # the length of the comment, which is the last field of an archive without one
    file.write(COMMENT_SIZE.to_bytes(2, "little"))
    size = file.tell()
    file.seek(0)
    file.write(_comment_on(file, size))


def _is_intact(path: Path) -> bool:
    """Return whether a file is as it was written, as far as its checksums show. `torch.load` does not check them.

    `save_tensors` adds a hash of the whole file. Earlier versions and other programs leave a CRC of each member of the
    archive.
    """
    with path.open("rb") as file:
        if file.read(len(ZIP)) != ZIP:
            return True
        with zipfile.ZipFile(file) as archive:
            if archive.comment:
                size = file.seek(0, os.SEEK_END) - COMMENT_SIZE
                file.seek(0)
                return _comment_on(file, size) == archive.comment
            members = archive.infolist()
            if any(member.external_attr & DIRECTORY for member in members):
                return False
            # After torch.serialization.set_crc32_options(False), PyTorch writes 0 for each CRC.
            return not any(member.CRC for member in members) or archive.testzip() is None


def _comment_on(file: BinaryIO, size: int) -> bytes:
    """Return the comment for an archive, with a hash of the next `size` bytes."""
    found = hashlib.sha256()
    while chunk := file.read(min(CHUNK, size)):
        found.update(chunk)
        size -= len(chunk)
    return COMMENT.format(found.hexdigest()).encode()
