"""Seeds that train side by side: one failure ends the others, and its error is the one that is raised."""

import contextlib
import os
import pty
import subprocess
import sys
import termios
import threading

import pytest
from tqdm import tqdm

from snip_cli.run.progress import Bar, StoppedError, in_threads
from snip_cli.runfolder.results import Evaluation
from tests.snip_run import ROOT, run_quick


def bar():
    return Bar(tqdm(disable=True))


@pytest.mark.parametrize("threads", [1, 3])
def test_every_item_is_done_once(threads):
    done = []
    in_threads(done.append, list(range(10)), threads, bar())
    assert sorted(done) == list(range(10))


def test_as_many_as_there_are_threads_work_at_a_time():
    meeting = threading.Barrier(3)
    in_threads(lambda _: meeting.wait(timeout=20), [0, 1, 2], 3, bar())


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_failure_ends_the_others(error):
    meter, stopped, begun = bar(), [], threading.Event()

    def work(item):
        if item == "fails":
            begun.wait(timeout=20)
            raise error
        try:
            while True:
                begun.set()
                meter.done(1)
        except StoppedError:
            stopped.append(item)
            raise

    with pytest.raises(error):
        in_threads(work, ["goes on", "fails", "never begins"], 2, meter)
    assert stopped == ["goes on"]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def lines(caplog):
    """A bar of 1,000 iterations in lines, of which 100 were done before, its clock, and what it logs."""
    caplog.set_level("INFO", logger="snip_cli")
    clock = Clock()
    return Bar(tqdm(disable=True), lines=True, total=1000, initial=100, clock=clock), clock, caplog


def evaluation(iteration):
    return Evaluation(iteration, 0.1, 0.25, 0.2, 2.0, 0.3, 3.0, images_per_second=4321.0)


def test_a_log_has_an_evaluation_at_most_every_half_minute_with_the_time_left(lines):
    meter, clock, caplog = lines
    for clock.now in range(1, 91):
        meter.done(5)
        meter.log(0, evaluation(100 + 5 * clock.now))
    said = caplog.messages
    assert said[0] == "150 of 1,000 iterations done, about 3 min left"
    assert said[1] == (
        "seed 0 at iteration 300: loss 0.2500, validation error 2.00 %, test error 3.00 %, 4,321 images/s; "
        "300 of 1,000 iterations done, about 2 min left"
    )
    assert [message.split(":")[0] for message in said[1:]] == ["seed 0 at iteration 300", "seed 0 at iteration 450"]


def test_a_log_is_not_silent_for_long_between_evaluations(lines):
    meter, clock, caplog = lines
    for clock.now in range(10, 700, 10):
        meter.done(1)
    assert [message.split(" of ")[0] for message in caplog.messages] == ["101", "131", "161"]
    assert ["left" in message for message in caplog.messages] == [False, True, True]


def test_what_comes_before_the_first_iterations_is_not_in_the_time_left(lines):
    """As the compilation of kernels."""
    meter, clock, caplog = lines
    clock.now = 60.0
    meter.done(100)
    for clock.now in (80.0, 100.0):
        meter.done(100)
        meter.log(0, evaluation(1))
    assert caplog.messages[0] == "200 of 1,000 iterations done"
    assert caplog.messages[1].endswith("400 of 1,000 iterations done, about 2 min left")


def test_a_short_run_and_a_bar_add_no_lines(lines, caplog):
    meter, clock, _ = lines
    clock.now = 9.0
    meter.done(900)
    meter.log(0, evaluation(1000))
    silent = Bar(tqdm(disable=True), total=10, clock=clock)
    clock.now = 1e6
    silent.done(5)
    silent.log(0, evaluation(5))
    assert caplog.messages == []


def test_a_log_of_a_run_shows_its_evaluations(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("snip_cli.run.progress.FIRST", 0.0)
    monkeypatch.setattr("snip_cli.run.progress.BETWEEN", 0.0)
    run_quick(tmp_path, "schedule.evaluate_every=1", "schedule.iterations=3")
    said = capsys.readouterr().out
    assert "seed 0 at iteration 1: loss" in said and "of 3 iterations done, about" in said
    [folder] = tmp_path.glob("*/run.log")
    assert "seed 0 at iteration 2: loss" in folder.read_text()


@pytest.mark.parametrize("columns", [0, 100])
def test_the_bar_is_shown_on_a_terminal_of_any_width(columns):
    """A pty has 0 columns until somebody sets them."""
    main, own = pty.openpty()
    termios.tcsetwinsize(own, (24 if columns else 0, columns))
    code = (
        "import time; from types import SimpleNamespace as N; from snip_cli.run.progress import progress_bar\n"
        "config = N(schedule=N(iterations=1000), is_reference=True)\n"
        "with progress_bar(config, [0], N(training={}), N(is_first=True)) as bar:\n"
        "    bar.done(500); time.sleep(0.2); bar.done(250); bar.evaluated(1.5)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=own, stdout=subprocess.DEVNULL, cwd=ROOT)
    os.close(own)
    said = b""
    with contextlib.suppress(OSError):  # a closed pty
        while part := os.read(main, 1000):
            said += part
    assert process.wait(timeout=60) == 0
    os.close(main)
    assert b"seed 0" in said and b"750/1000" in said
