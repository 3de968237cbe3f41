import threading
import time

import pytest

from snip_cli.data.download import fetch_once
from snip_cli.errors import ConfigError
from tests.data.pictures import one_sentence


def fetch(root, action):
    """Fetch the data set that consists of `root`/file."""
    fetch_once(root, "SET", action, (root / "file").is_file, "put the file there.")


def test_what_is_missing_is_fetched_into_a_folder_that_is_made_for_it(tmp_path):
    fetch(tmp_path / "data", lambda: (tmp_path / "data" / "file").write_text("content"))
    assert (tmp_path / "data" / "file").read_text() == "content"


def test_a_failure_is_reported_in_one_line_with_reason_and_remedy(tmp_path):
    def fail():
        raise RuntimeError("two\nlines")

    with pytest.raises(ConfigError) as refusal:
        fetch(tmp_path, fail)
    assert one_sentence(refusal.value) == (
        f"SET is not in {tmp_path} and cannot be downloaded (RuntimeError: two lines): put the file there."
    )


def test_a_download_that_leaves_something_out_is_reported(tmp_path):
    with pytest.raises(ConfigError, match="the downloaded files are incomplete"):
        fetch(tmp_path, lambda: None)


def test_a_root_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(ConfigError, match=r"root and cannot be downloaded \(FileExistsError"):
        fetch(tmp_path / "root", lambda: None)


def test_an_error_about_a_file_is_passed_on_unchanged(tmp_path):
    def refuse():
        raise ConfigError("The archive is damaged: delete it.")

    with pytest.raises(ConfigError) as refusal:
        fetch(tmp_path, refuse)
    assert str(refusal.value) == "The archive is damaged: delete it."


def test_runs_that_start_together_fetch_once(tmp_path):
    fetched = []

    def slow():
        time.sleep(0.2)  # time for all other runs to reach the lock
        fetched.append(threading.get_ident())
        (tmp_path / "file").write_text("content")

    threads = [threading.Thread(target=fetch, args=(tmp_path, slow)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
