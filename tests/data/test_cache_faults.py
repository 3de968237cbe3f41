"""Damaged or foreign cache files, and folders where no cache can be written."""

import errno
from pathlib import Path

import pytest
import torch

from snip_cli.data import cache
from snip_cli.errors import ConfigError
from tests.data.cached import EXPECTED, kept_files, read


def flip_a_bit(content):
    """Flip a bit in the middle of the file, which lies in the images."""
    place = content.find(EXPECTED[2].numpy().tobytes())
    assert place > 0
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "all but a byte": lambda content: content[:-1],
    "garbage": lambda content: b"garbage" * 99,
    "zeros": lambda content: bytes(len(content)),
    "a flipped bit": flip_a_bit,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_not_trusted_but_replaced(damage, base, decodes):
    read(base)
    [kept] = kept_files(base)
    kept.write_bytes(damage(kept.read_bytes()))
    for _ in range(2):
        assert torch.equal(read(base), EXPECTED)
    assert decodes == [5, 5]


def images_of(content):
    return content["images"]


FOREIGN = {
    "a tensor": images_of,
    "a list": lambda content: [images_of(content)],
    "no key": lambda content: {"images": images_of(content), "digest": content["digest"]},
    "another key": lambda content: content | {"key": "0" * 64},
    "fewer images": lambda content: (
        content | {"images": (few := images_of(content)[:4].clone()), "digest": cache.digest(few)}
    ),
    "floats": lambda content: content | {"images": (some := images_of(content).float()), "digest": cache.digest(some)},
    "other images": lambda content: content | {"images": images_of(content).flip(0)},
    "code": lambda content: content | {"path": Path("x")},
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_is_not_trusted_but_replaced(make, base, decodes):
    read(base)
    [kept] = kept_files(base)
    content = torch.load(kept, weights_only=True)
    torch.save(make(content), kept)
    for _ in range(2):
        assert torch.equal(read(base), EXPECTED)
    assert decodes == [5, 5]


def test_where_nothing_can_be_written_a_warning_is_all(base, decodes, warnings):
    (base / cache.FOLDER).write_text("in the way")
    assert torch.equal(read(base), EXPECTED)
    [warning] = warnings
    assert warning.startswith(f"the decoded images cannot be kept in {base / cache.FOLDER} (File exists), ")
    assert torch.equal(read(base), EXPECTED)
    assert decodes == [5, 5]


def test_a_lock_that_cannot_be_taken_is_a_warning(base, monkeypatch, warnings):
    def refuse(path, work):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cache, "hold", refuse)
    assert torch.equal(read(base), EXPECTED)
    assert len(warnings) == 1


def test_a_full_disk_is_a_warning_and_leaves_nothing_behind(base, monkeypatch, warnings):
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    write = cache.write_atomically
    monkeypatch.setattr(cache, "write_atomically", lambda path, _: write(path, lambda file: Full().write(b"")))
    assert torch.equal(read(base), EXPECTED)
    [warning] = warnings
    assert "(No space left on device)" in warning
    assert [path.name for path in (base / cache.FOLDER).iterdir() if path.suffix != ".lock"] == []


def test_what_a_killed_run_left_half_written_is_deleted(base):
    read(base)
    [kept] = kept_files(base)
    kept.rename(kept.with_name(f".{kept.name}.tmp"))
    read(base)
    assert [path.name for path in (base / cache.FOLDER).iterdir() if path.suffix != ".lock"] == [kept.name]


def test_an_image_that_cannot_be_decoded_leaves_nothing_to_trust(base, decodes):
    good = (base / "train" / "ant" / "1.png").read_bytes()
    (base / "train" / "ant" / "1.png").write_bytes(good[:50])
    with pytest.raises(ConfigError, match=r"1\.png cannot be decoded"):
        read(base)
    (base / "train" / "ant" / "1.png").write_bytes(good)
    assert torch.equal(read(base), EXPECTED)
    assert decodes == [5, 5]
