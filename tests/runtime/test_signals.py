"""A process that is asked to end does so as after Ctrl-C, and a worker ends with its parent."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from snip_cli.runtime.signals import Terminated, ending_with, signals_raised
from tests.snip_run import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

WORKER = """
import os, time
from snip_cli.runtime.signals import ending_with
with ending_with(os.getppid()):
    print("works", flush=True)
    time.sleep(60)
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKER!r}])"


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_raised_like_ctrl_c(number, code):
    closed = []
    before = signal.signal(number, signal.SIG_DFL)  # below `nohup` it is ignored
    try:
        with pytest.raises(KeyboardInterrupt) as stop, signals_raised():
            try:
                os.kill(os.getpid(), number)
            finally:
                closed.append(True)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert isinstance(stop.value, Terminated)
    assert stop.value.exit_code == code
    assert closed


def test_a_signal_that_is_ignored_stays_ignored():
    """As below `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_raised():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_changes():
    found = []

    def work():
        with signals_raised():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


@pytest.mark.parametrize("parent", [None, os.getpid()], ids=["no parent", "itself"])
def test_a_process_that_ends_by_itself_watches_nobody(parent):
    threads = threading.active_count()
    with ending_with(parent):
        assert threading.active_count() == threads


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_its_parent(number):
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "works\n"
    parent.send_signal(number)
    parent.communicate(timeout=30)  # until the worker, which holds the pipe, has ended
