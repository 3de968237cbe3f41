"""Compiled kernels are kept for each version of the kernels, and never read from a folder that others can write to."""

import stat
import tempfile
from pathlib import Path

import pytest

from snip_cli.training.sparse import cache


@pytest.fixture
def no_folder_of_numbas_own(monkeypatch):
    monkeypatch.setattr(cache.settings, "CACHE_DIR", "")


def test_the_folder_is_in_the_users_cache(no_folder_of_numbas_own, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.kernel_folder().parent == tmp_path / "snip-run"
    assert cache.kernel_folder() == cache.kernel_folder()


def test_numbas_own_setting_chooses_another_place(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.settings, "CACHE_DIR", str(tmp_path))
    assert cache.kernel_folder().parent == tmp_path


def test_another_version_of_a_kernel_has_another_folder(no_folder_of_numbas_own, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "kernels").mkdir()
    source = tmp_path / "kernels" / "products.py"
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    folders = set()
    for text in ("a = 1", "a = 2"):
        source.write_text(text)
        folders.add(cache.kernel_folder())
    assert len(folders) == 2


def test_without_a_writable_home_the_folder_is_new_and_private(no_folder_of_numbas_own, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, other = cache.kernel_folder(), cache.kernel_folder()
    assert one != other
    assert one.parent == Path(tmp_path)
    assert stat.S_IMODE(one.stat().st_mode) == 0o700
