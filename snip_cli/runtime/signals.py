"""How a process ends before its work is done: by a signal, which is raised like Ctrl-C, or because its parent has ended."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP comes when a terminal is closed. Windows has none.
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# Seconds between two looks at the parent.
LOOK_EVERY = 0.5


class Terminated(KeyboardInterrupt):
    """The process received a signal that asks it to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


def terminate(number: int, frame: FrameType | None) -> None:
    """Raise Terminated; a signal handler."""
    raise Terminated(number)


@contextmanager
def signals_raised() -> Iterator[None]:
    """Within this context, SIGTERM and SIGHUP raise Terminated, so that files are closed and locks released as after Ctrl-C.

    A signal that is ignored, as `nohup` does, or handled already stays so.
    """
    if threading.current_thread() is not threading.main_thread():  # Python has handlers in the main thread only
        yield
        return
    ours = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def ending_with(parent: int | None) -> Iterator[None]:
    """Within this context, this process ends when its parent does, however that ended.

    Args:
        parent: the process id of the parent; None, or this process's own id, for a process that ends by itself.
    """
    if (
        parent in (None, os.getpid()) or os.name != "posix"
    ):  # elsewhere a process keeps the id of a parent that has ended
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while os.getppid() == parent:
            if done.wait(LOOK_EVERY):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    try:
        with signals_raised():
            yield
    except Terminated as stop:
        os._exit(stop.exit_code)  # nobody is left to return to
    finally:
        done.set()
