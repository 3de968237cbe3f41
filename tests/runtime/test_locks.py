"""Locks where the file system has none: two processes still exclude each other, and nobody waits without a word."""

import errno
import fcntl
import os
import threading
import time

import pytest
from filelock import FileLock, SoftFileLock, Timeout

from snip_cli.commands.snip_run import main
from snip_cli.errors import ConfigError
from snip_cli.runfolder.folder import open_folder
from snip_cli.runtime.device import take_gpu
from snip_cli.runtime.locks import file_lock, hold
from tests.snip_run import QUICK, only_run

ELSEWHERE = "4711\nanother-host\n"


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "EIO", "EACCES", "ENOSYS"])
def without_locks(request, monkeypatch, tmp_path):
    """A file system on which `flock` fails."""
    # The folder of the other tests' kernels has locks, which their processes hold at the same time.
    monkeypatch.setattr("snip_cli.training.sparse.cache.FOLDER", tmp_path)
    number = getattr(errno, request.param)

    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_run_is_done_and_done_again(without_locks, tmp_path, capsys, recwarn):
    command = [*QUICK, f"output_dir={tmp_path}"]
    for _ in range(2):
        assert main(command) == 0
    said = capsys.readouterr()
    assert "finished already" in said.out
    assert said.err == ""
    assert not (only_run(tmp_path) / ".lock").exists()
    assert not recwarn.list


def test_two_processes_exclude_each_other(without_locks, tmp_path):
    with open_folder(tmp_path / "run"), pytest.raises(ConfigError) as error, open_folder(tmp_path / "run"):
        pass
    lock = tmp_path / "run" / ".lock"
    assert str(error.value) == (
        f"Another process is doing the run {tmp_path / 'run'}: wait for it, or choose another output_dir. "
        f"If no process is, delete {lock}: this file system has no locks that end with their process."
    )


def test_the_marker_of_another_host_is_named_and_can_be_deleted(without_locks, tmp_path, capsys):
    command = [*QUICK, f"output_dir={tmp_path}"]
    assert main(command) == 0
    folder = only_run(tmp_path)
    (folder / ".lock").write_text(ELSEWHERE)
    (folder / "metrics.json").unlink()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"If no process is, delete {folder / '.lock'}" in said
    (folder / ".lock").unlink()
    assert main(command) == 0


def test_who_waits_for_another_host_says_so_and_goes_on_when_the_marker_is_deleted(without_locks, tmp_path, caplog):
    lock = tmp_path / ".lock"
    lock.write_text(ELSEWHERE)

    def delete():
        while not caplog.messages:
            time.sleep(0.05)
        lock.unlink()

    caplog.set_level("INFO")
    deleting = threading.Thread(target=delete)
    deleting.start()
    with hold(lock, "decoding images"):
        deleting.join()
    assert caplog.messages[0].startswith(
        f"waiting for another process that is decoding images. If no process is, delete {lock}: "
    )


def test_the_empty_file_of_a_lock_from_better_times_is_no_marker(without_locks, tmp_path):
    lock = tmp_path / ".lock"
    lock.touch()
    with pytest.raises(Timeout):  # it may be a marker that is being written
        file_lock(lock).acquire(timeout=0)
    os.utime(lock, (0, 0))
    with file_lock(lock).acquire(timeout=0):
        pass


def test_who_waits_for_an_empty_file_goes_on_when_it_is_old_enough(without_locks, tmp_path, monkeypatch):
    monkeypatch.setattr("snip_cli.runtime.locks.LEFTOVER", 0.5)
    (tmp_path / ".lock").touch()
    with hold(tmp_path / ".lock", "decoding images"):
        assert (tmp_path / ".lock").read_text().startswith(f"{os.getpid()}\n")


def test_gpus_are_taken_in_turn(without_locks, tmp_path, monkeypatch):
    monkeypatch.setattr("snip_cli.runtime.device.LOCKS", tmp_path)
    taken = [take_gpu(["first", "second"]) for _ in range(4)]
    assert [index for _, index in taken] == [0, 1, 0, 1]
    for lock, _ in taken:
        lock.release()


def test_elsewhere_the_locks_of_the_system_are_used(tmp_path):
    lock = file_lock(tmp_path / ".lock")
    assert isinstance(lock, FileLock)
    assert not isinstance(lock, SoftFileLock)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_lock_file_of_somebody_else_is_one_sentence(tmp_path):
    (tmp_path / ".lock").touch(mode=0o400)
    with pytest.raises(ConfigError, match=r"cannot be locked \(Permission denied\): delete it"), open_folder(tmp_path):
        pass


def test_a_folder_in_place_of_the_lock_file_is_one_sentence(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(ConfigError, match=r"\.lock cannot be locked"), open_folder(tmp_path):
        pass
