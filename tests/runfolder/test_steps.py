"""The results of a method's steps on disk."""

import pytest
import torch

from snip_cli.errors import ConfigError
from snip_cli.runfolder.steps import Steps


def counting(value):
    """A computation of `value`, and the list of its calls."""
    calls = []

    def compute():
        calls.append(1)
        return value

    return compute, calls


def test_a_finished_step_is_not_done_again(tmp_path):
    compute, calls = counting({"scores": torch.arange(3.0)})
    first = Steps(tmp_path / "steps").do("scores", compute)
    again = Steps(tmp_path / "steps").do("scores", compute)
    assert len(calls) == 1
    assert torch.equal(first["scores"], again["scores"])


def test_what_was_interrupted_goes_on_after_the_last_finished_step(tmp_path):
    done = []

    def compute(key):
        if key == "b" and len(done) == 1:
            raise KeyboardInterrupt
        done.append(key)
        return key.upper()

    with pytest.raises(KeyboardInterrupt):
        Steps(tmp_path).each("limits", ["a", "b", "c"], compute)
    done.append("interrupted")
    assert Steps(tmp_path).each("limits", ["a", "b", "c"], compute) == {"a": "A", "b": "B", "c": "C"}
    assert done == ["a", "interrupted", "b", "c"]


def test_layers_that_take_long_are_logged_now_and_then(tmp_path, monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr("snip_cli.runfolder.steps.time.perf_counter", lambda: now[0])
    caplog.set_level("INFO", "snip_cli")

    def lasting(key):
        now[0] += 20.0
        return key

    Steps(tmp_path).each("scores", list("abcde"), lasting)
    assert [record.message for record in caplog.records] == [
        "scores: 2 of 5 layers, 40 s",
        "scores: 4 of 5 layers, 80 s",
        "scores: 5 of 5 layers, 100 s",
    ]


def test_nothing_is_logged_where_nothing_is_kept(caplog):
    caplog.set_level("INFO", "snip_cli")
    steps = Steps()
    steps.do("activations", lambda: 1)
    steps.each("scores", ["fc1"], str.upper)
    assert not caplog.records


def test_the_seconds_of_a_step_are_those_of_who_computed_it(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("snip_cli.runfolder.steps.time.perf_counter", lambda: now[0])

    def lasting(seconds):
        now[0] += seconds
        return torch.ones(1)

    first = Steps(tmp_path / "one")
    first.do("activations", lambda: lasting(5.0))
    assert first.seconds_read == 0.0  # its own clock runs
    again = Steps(tmp_path / "one")
    again.do("activations", lambda: lasting(0.0))
    again.do("scores", lambda: lasting(20.0))
    assert again.seconds_read == 5.0
    other = Steps(tmp_path / "two", [tmp_path / "one"])
    for name in ("activations", "scores"):
        other.do(name, lambda: lasting(0.0))
    assert other.seconds_read == 25.0


def test_steps_of_another_commit_are_named_once_with_what_to_delete(tmp_path, monkeypatch, caplog):
    def at(commit, run, others=()):
        monkeypatch.setattr("snip_cli.runfolder.steps.git_state", lambda: (commit, False))
        return Steps(
            tmp_path / run / "steps" / "seed0-1234", [tmp_path / other / "steps" / "seed0-1234" for other in others]
        )

    for run, others in (("one", []), ("one", []), ("two", ["one"])):  # computed, read again, taken
        at("a" * 40, run, others).each("scores", ["fc1", "fc2"], str.upper)
    at(None, "one").each("scores", ["fc1", "fc2"], str.upper)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    at("b" * 40, "three", ["one"]).each("scores", ["fc1", "fc2"], str.upper)
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    place = tmp_path / "*" / "steps" / "seed0-1234"
    assert warning.message == (
        f"uses steps that commit aaaaaaaaa computed (now bbbbbbbbb): to compute them again, delete {place}"
    )
    assert len(list(tmp_path.glob("*/steps/seed0-1234"))) == 3


@pytest.mark.parametrize("links", [True, False])
def test_another_runs_step_is_taken(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*_):
            raise OSError

        monkeypatch.setattr("os.link", refuse)
    Steps(tmp_path / "one").do("scores", lambda: 1)
    compute, calls = counting(2)
    assert Steps(tmp_path / "two", [tmp_path / "none", tmp_path / "one"]).do("scores", compute) == 1
    assert not calls
    assert (tmp_path / "two" / "scores.pt").exists()


def test_without_a_folder_nothing_is_kept():
    compute, calls = counting(1)
    steps = Steps()
    assert [steps.do("scores", compute), steps.do("scores", compute)] == [1, 1]
    assert len(calls) == 2


def test_a_damaged_step_is_named_with_the_remedy(tmp_path):
    Steps(tmp_path).do("scores", lambda: 1)
    (tmp_path / "scores.pt").write_bytes(b"half")
    with pytest.raises(ConfigError, match=r"scores\.pt is damaged, .* and cannot be read: delete it, and"):
        Steps(tmp_path).do("scores", lambda: 1)


def test_a_damaged_step_of_another_run_is_not_taken(tmp_path):
    Steps(tmp_path / "one").do("scores", lambda: 1)
    (tmp_path / "one" / "scores.pt").write_bytes(b"half")
    assert Steps(tmp_path / "two", [tmp_path / "one"]).do("scores", lambda: 2) == 2
