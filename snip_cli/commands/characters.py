"""What is printed where the terminal or its encoding lacks a character."""

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Of this project's own messages and tables. All other characters, such as those of a path, are printed as an escape sequence.
PLAIN = {
    "·": "-",
    "→": "->",
    "±": "+-",
    "×": "x",
    "κ": "k",
    "†": "+",
    "‡": "++",
    "…": "...",
    "−": "-",
    "²": "2",
    "≥": ">=",
}
# What Python does by itself: it fails, or writes an escape sequence. Somebody who sets another way, as in PYTHONIOENCODING=ascii:replace, keeps it.
DEFAULTS = ("strict", "surrogateescape", "backslashreplace")
NAME = "snip_cli.plain"


def plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what to write for a character that the encoding lacks, and where to go on; an error handler of `codecs`."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    after = error.start + 1
    if "\udc80" <= character <= "\udcff":  # a byte of a path that is not valid in the file system's encoding
        return bytes([ord(character) - 0xDC00]), after
    return PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode(), after


codecs.register_error(NAME, plain)


@contextmanager
def plain_characters() -> Iterator[None]:
    """Within this context, standard output and standard error take every character. Nested calls do nothing more."""
    streams = [each for each in (sys.stdout, sys.stderr) if isinstance(each, io.TextIOWrapper)]
    changed = [(stream, stream.errors) for stream in streams if stream.errors in DEFAULTS]
    for stream, _ in changed:
        stream.reconfigure(errors=NAME)
    try:
        yield
    finally:
        for stream, before in changed:
            with suppress(OSError, ValueError):  # closed, or on a full disk
                stream.reconfigure(errors=before)
