"""Fixtures of the tests of the cache: five images, the calls of the decoder, and the warnings."""

import pytest

from snip_cli.data import cache
from tests.data.pictures import draw_classes


@pytest.fixture
def decodes(monkeypatch):
    """The number of images in each call of the decoder."""
    calls = []
    decode = cache.decode

    def counted(paths, height, width):
        calls.append(len(paths))
        return decode(paths, height, width)

    monkeypatch.setattr(cache, "decode", counted)
    return calls


@pytest.fixture
def warnings(monkeypatch):
    """The warnings of the project's logger."""
    messages = []
    monkeypatch.setattr(cache.log, "warning", lambda text, *values: messages.append(text % values))
    return messages


@pytest.fixture
def base(tmp_path):
    """Five images in two classes."""
    draw_classes(tmp_path / "set" / "train", {"ant": 3, "bee": 2})
    return tmp_path / "set"
