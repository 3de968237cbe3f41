"""What the tests of the cache share: five images, and what is decoded and warned of."""

import pytest

from snip_cli.data import cache
from tests.data.pictures import draw_classes


@pytest.fixture
def decodes(monkeypatch):
    """The number of images of every call of the decoder."""
    calls = []
    decode = cache.decode

    def counted(paths, height, width):
        calls.append(len(paths))
        return decode(paths, height, width)

    monkeypatch.setattr(cache, "decode", counted)
    return calls


@pytest.fixture
def warnings(monkeypatch):
    """What the project's logger warns of."""
    told = []
    monkeypatch.setattr(cache.log, "warning", lambda text, *values: told.append(text % values))
    return told


@pytest.fixture
def base(tmp_path):
    """Five images in two classes."""
    draw_classes(tmp_path / "set" / "train", {"ant": 3, "bee": 2})
    return tmp_path / "set"
