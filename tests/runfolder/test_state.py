"""A run's folder that cannot be deleted is kept, and one sentence says why."""

from types import SimpleNamespace

import pytest

from snip_cli.errors import ConfigError
from snip_cli.runfolder.state import RunState, remove


def test_a_folder_that_cannot_be_locked_is_kept(tmp_path, monkeypatch):
    def refuse(timeout):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("snip_cli.runfolder.state.file_lock", lambda path: SimpleNamespace(acquire=refuse))
    with pytest.raises(ConfigError) as error:
        remove(RunState(tmp_path, None, "unfinished", 0.0, 0))
    assert str(error.value) == f"{tmp_path} cannot be locked (Permission denied), so it is kept."
    assert tmp_path.exists()
