"""The record of the code that made a result."""

import subprocess

import pytest

from snip_cli.runtime import environment


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of a program of one file, committed."""
    program = tmp_path / "snip_cli" / "runtime" / "environment.py"
    program.parent.mkdir(parents=True)
    program.write_text("")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(environment, "__file__", str(program))
    return tmp_path


def test_a_users_own_files_beside_the_program_do_not_change_it(checkout):
    (checkout / "mine").mkdir()
    (checkout / "mine" / "taylor.py").write_text("")
    commit, dirty = environment.git_state()
    assert len(commit) == 40
    assert dirty is False


@pytest.mark.parametrize("name", ["snip_cli/runtime/environment.py", "snip_cli/more.py"])
def test_a_changed_or_a_new_file_of_the_program_does(name, checkout):
    (checkout / name).write_text("x = 1")
    assert environment.git_state()[1] is True


def test_nothing_is_known_of_a_program_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "snip_cli" / "runtime" / "environment.py"))
    assert environment.git_state() == (None, None)
