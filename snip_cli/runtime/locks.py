"""Lock files between processes, also where the file system has no locks."""

import logging
import sys
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

log = logging.getLogger("snip_cli")

# Seconds after which an empty file cannot be a marker that is being written.
LEFTOVER = 10.0


def file_lock(path: Path) -> BaseFileLock:
    """Return a lock on the file `path`, in a folder that exists; not yet acquired.

    On a file system without locks, the existence of the file is the lock. It holds the host and id of its process, so that
    the file of a process that has ended on this host is ignored. That of another host is not: see `hint`.
    """
    if has_locks(path.parent):
        return FileLock(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        pass
    else:
        if status.st_size == 0 and time.time() - status.st_mtime > LEFTOVER:  # of a lock while there were locks
            path.unlink(missing_ok=True)
    return SoftFileLock(path)


def has_locks(folder: Path) -> bool:
    """Return whether a new file in `folder`, which nobody else can have locked, can be locked.

    File systems without locks fail with ENOLCK, EOPNOTSUPP, ENOSYS, EIO or, as if another process held the lock, EACCES.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
    except OSError:  # whoever acquires the lock reports that the folder is not writable
        pass
    return True


def hint(lock: BaseFileLock) -> str:
    """Return what to do about a lock that another process seems to hold, if that cannot be known for certain."""
    if not isinstance(lock, SoftFileLock):
        return ""
    return f" If no process is, delete {lock.lock_file}: this file system has no locks that end with their process."


def hold(path: Path, work: str) -> AbstractContextManager[object]:
    """Acquire the lock on the file `path`, and return a context manager that releases it.

    A line in the log says so where it waits for another process that does `work`.
    """
    reported = False
    while True:
        lock = file_lock(path)
        try:
            # Each second it is looked at anew, because a file that was too young to be a leftover grows old enough.
            return lock.acquire(timeout=1)
        except Timeout:
            if not reported:
                log.info("waiting for another process that is %s.%s", work, hint(lock))
            reported = True
