import pytest

from snip_cli.data import cache
from snip_cli.data.cache import FOLDER, require_readable
from snip_cli.data.decode import AT_ONCE
from snip_cli.errors import ConfigError
from tests.data.pictures import draw, one_sentence


@pytest.fixture
def paths(tmp_path):
    """More images than one thread checks at a time."""
    return [draw(tmp_path / "train" / f"{number}.png", number) for number in range(AT_ONCE + 3)]


@pytest.fixture
def looks(monkeypatch):
    """One entry per header that is read."""
    counts = []
    check_header = cache.check_header

    def counted(path):
        counts.append(1)
        return check_header(path)

    monkeypatch.setattr(cache, "check_header", counted)
    return counts


def test_images_are_checked_once(paths, tmp_path, looks):
    for _ in range(2):
        require_readable(tmp_path, paths)
    assert sum(looks) == len(paths)


@pytest.mark.parametrize("place", [0, -1])
def test_a_file_that_is_no_image_is_named_and_nothing_is_remembered(place, paths, tmp_path):
    paths[place].write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(ConfigError) as error:
            require_readable(tmp_path, paths)
        assert one_sentence(error.value).startswith(f"{paths[place]} is not an image (")


def test_a_changed_file_is_checked_again(paths, tmp_path):
    require_readable(tmp_path, paths)
    paths[2].write_bytes(b"no image any more")
    with pytest.raises(ConfigError, match=r"2\.png is not an image"):
        require_readable(tmp_path, paths)


def test_images_are_checked_each_time_if_nothing_can_be_remembered(paths, tmp_path, looks):
    (tmp_path / FOLDER).write_text("in the way")
    for _ in range(2):
        require_readable(tmp_path, paths)
    assert sum(looks) == 2 * len(paths)
