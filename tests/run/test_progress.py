"""Seeds that train side by side: one failure ends the others, and its error is the one that is raised."""

import threading

import pytest
from tqdm import tqdm

from snip_cli.run.progress import Bar, StoppedError, in_threads


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
