"""Files of tensors: any changed bit is noticed, and what other programs and earlier versions wrote is still read."""

import io
import os
import random
import tarfile
import zipfile
from contextlib import contextmanager

import pytest
import torch

from snip_cli.errors import ConfigError, RunError
from snip_cli.runtime.files import load_tensors, save_tensors, write_tensors, write_text
from tests.run.test_earlier_versions import ARCHIVE

CONTENT = {0: {"fc.weight": torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) > 0.5}}


def read(path):
    return load_tensors(path, "restore it")


def flips(path):
    """Flip one bit of every byte, one at a time: of headers, padding, tensors, directory and hash."""
    whole, draw = path.read_bytes(), random.Random(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        yield
    path.write_bytes(whole)


def is_same(content):
    return content.keys() == CONTENT.keys() and torch.equal(content[0]["fc.weight"], CONTENT[0]["fc.weight"])


def test_a_flipped_bit_anywhere_in_a_file_is_one_sentence_that_names_the_file(tmp_path):
    path = tmp_path / "mask.pt"
    save_tensors(path, CONTENT)
    assert is_same(read(path))
    for _ in flips(path):
        with pytest.raises(ConfigError) as error:
            read(path)
        assert str(error.value).startswith(f"{path} is damaged")
        assert str(error.value).endswith(": restore it.") or str(error.value).endswith("; restore it.")
    assert is_same(read(path))


def test_bits_of_the_length_of_the_hash_are_noticed_too(tmp_path):
    path = tmp_path / "mask.pt"
    save_tensors(path, CONTENT)
    whole = path.read_bytes()
    start = whole.rindex(b"sha256:") - 2
    for bit in range(16):
        changed = bytearray(whole)
        changed[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(ConfigError, match="is damaged"):
            read(path)


def test_without_the_hash_a_flipped_bit_is_noticed_or_changes_no_tensor(tmp_path):
    """A file as earlier versions, or other programs, wrote it."""
    path = tmp_path / "mask.pt"
    torch.save(CONTENT, path)
    noticed = 0
    for _ in flips(path):
        try:
            assert is_same(read(path))
        except ConfigError:
            noticed += 1
    assert noticed > 500


def test_a_member_that_is_marked_as_a_folder_is_noticed(tmp_path):
    """PyTorch would return uninitialised memory."""
    path = tmp_path / "mask.pt"
    torch.save(CONTENT, path)
    whole = bytearray(path.read_bytes())
    whole[whole.rindex(b"mask/data/0") - 8] ^= 0x10  # the external attributes of its directory entry
    path.write_bytes(whole)
    with pytest.raises(ConfigError, match="is damaged"):
        read(path)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "before 1.6"])
def test_what_torch_save_writes_is_read(options, tmp_path):
    torch.save(CONTENT, tmp_path / "mask.pt", **options)
    assert is_same(read(tmp_path / "mask.pt"))


def test_a_file_that_pytorch_wrote_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, tmp_path / "mask.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert is_same(read(tmp_path / "mask.pt"))


def test_other_programs_read_a_file_with_its_hash(tmp_path):
    save_tensors(tmp_path / "mask.pt", CONTENT)
    assert is_same(torch.load(tmp_path / "mask.pt", weights_only=True))
    assert is_same(torch.load(tmp_path / "mask.pt", weights_only=True, mmap=True))
    assert zipfile.ZipFile(tmp_path / "mask.pt").testzip() is None


def test_a_flipped_bit_in_a_tensor_of_an_earlier_version_is_noticed(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".pt")]
        archive.extractall(tmp_path, members, filter="data")
    for member in members:
        read(tmp_path / member.name)
    path = min((tmp_path / member.name for member in members), key=lambda path: path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        data = max(archive.infolist(), key=lambda member: member.file_size)
    whole = bytearray(path.read_bytes())
    whole[data.header_offset + 128 + data.file_size // 2] ^= 4
    path.write_bytes(whole)
    with pytest.raises(ConfigError, match="does not match its checksum"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04", b"PK\x03\x04 and no archive", b"no checkpoint"])
def test_a_file_of_something_else_is_one_sentence(content, tmp_path):
    (tmp_path / "mask.pt").write_bytes(content)
    with pytest.raises(ConfigError, match=r"mask\.pt is damaged.*: restore it\.$"):
        read(tmp_path / "mask.pt")


def test_a_folder_in_place_of_a_file_is_not_called_damaged(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\): restore it\.$"):
        read(tmp_path)


@contextmanager
def files_up_to(size):
    """Within this context, a file that grows beyond `size` bytes cannot be written, as on a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("size", [0, 100, 70_000])
def test_a_full_disk_is_one_sentence_and_leaves_the_earlier_file(size, tmp_path):
    path = tmp_path / "mask.pt"
    save_tensors(path, CONTENT)
    large = {0: torch.ones(100, 1000)}
    with files_up_to(size), pytest.raises(RunError) as error:
        save_tensors(path, large)
    remedy = "free space there or make it writable, and start the same command again"
    assert str(error.value) == f"{path} cannot be written (File too large): {remedy}."
    assert [file.name for file in tmp_path.iterdir()] == ["mask.pt"]
    assert is_same(read(path))


def test_a_folder_that_was_deleted_is_said_to_be(tmp_path):
    with pytest.raises(RunError, match=r"^The folder \S+/run was deleted while it was written to: start the same"):
        write_text(tmp_path / "run" / "metrics.json", "{}")


def test_ctrl_c_while_a_file_is_written_is_ctrl_c(tmp_path):
    """PyTorch's writer raises an error of its own when a write fails."""

    class Interrupted(io.BytesIO):
        def write(self, content):
            if self.tell() > 100:
                raise KeyboardInterrupt
            return super().write(content)

    with pytest.raises(KeyboardInterrupt):
        write_tensors(Interrupted(), CONTENT)
