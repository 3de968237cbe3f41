import os
import shutil
import threading
import time

import pytest
import torch

from snip_cli.data import cache
from snip_cli.data.cache import read_images
from snip_cli.data.folders import list_images
from tests.data.cached import EXPECTED, kept_files, read
from tests.data.pictures import as_tensor, draw, draw_classes


def test_the_second_time_nothing_is_decoded(base, decodes):
    assert torch.equal(read(base), EXPECTED)
    assert torch.equal(read(base), EXPECTED)
    assert decodes == [5]


def test_both_splits_get_their_images_and_labels(base):
    draw(base / "test" / "ant" / "a.png", 7)
    draw(base / "test" / "bee" / "b.png", 8)
    for _ in range(2):
        raw = read_images(base, list_images(base / "train"), list_images(base / "test"), height=8, width=8)
        assert torch.equal(raw.train_images, EXPECTED)
        assert raw.train_labels.tolist() == [0, 0, 0, 1, 1]
        assert torch.equal(raw.test_images, torch.stack([as_tensor(7), as_tensor(8)]))
        assert raw.test_labels.tolist() == [0, 1]


def change_content(base):
    """Another image of the same length, a nanosecond later."""
    path = base / "train" / "ant" / "1.bmp"
    earlier = path.stat()
    draw(path, 5)
    assert path.stat().st_size == earlier.st_size
    os.utime(path, ns=(earlier.st_atime_ns, earlier.st_mtime_ns + 1))


def change_length(base):
    path = base / "train" / "ant" / "1.bmp"
    earlier = path.stat()
    draw(path, 5, height=10)
    os.utime(path, ns=(earlier.st_atime_ns, earlier.st_mtime_ns))


def add(base):
    draw(base / "train" / "bee" / "new.bmp", 6)


def remove(base):
    (base / "train" / "ant" / "2.bmp").unlink()


def swap(base):
    one, two = base / "train" / "ant" / "0.bmp", base / "train" / "bee" / "0.bmp"
    one.rename(base / "x")
    two.rename(one)
    (base / "x").rename(two)


@pytest.mark.parametrize("change", [change_content, change_length, add, remove, swap], ids=lambda f: f.__name__)
def test_a_change_of_the_files_is_noticed_and_the_earlier_images_are_deleted(change, tmp_path, decodes):
    draw_classes(tmp_path / "train", {"ant": 3, "bee": 2}, suffix=".bmp")
    read(tmp_path)
    before = kept_files(tmp_path)
    change(tmp_path)
    after = read(tmp_path)
    assert torch.equal(after, cache.decode(list_images(tmp_path / "train").paths, 8, 8))
    assert len(decodes) == 3  # the last call is this test's own
    assert len(kept_files(tmp_path)) == 1
    assert kept_files(tmp_path) != before


def test_another_order_of_files_of_one_length_and_time_is_noticed(tmp_path):
    draw_classes(tmp_path / "train", {"ant": 3}, suffix=".bmp")
    for path in (tmp_path / "train" / "ant").iterdir():
        os.utime(path, ns=(0, 0))
    read(tmp_path)
    (tmp_path / "train" / "ant" / "0.bmp").rename(tmp_path / "train" / "ant" / "9.bmp")
    assert torch.equal(read(tmp_path), torch.stack([as_tensor(number) for number in (1, 2, 0)]))


@pytest.mark.parametrize("name", ["VERSION", "PIL.__version__"])
def test_another_decoder_decodes_anew(name, base, decodes, monkeypatch):
    read(base)
    monkeypatch.setattr(f"snip_cli.data.cache.{name}", "another")
    read(base)
    assert decodes == [5, 5]


def test_each_size_is_kept_by_itself(base, decodes):
    for size in (8, 4, 8, 4):
        assert read(base, size).shape == (5, 3, size, size)
    assert decodes == [5, 5]


def test_a_copy_that_keeps_the_times_needs_no_decoding(base, tmp_path, decodes):
    read(base)
    shutil.copytree(base, tmp_path / "elsewhere")
    assert torch.equal(read(tmp_path / "elsewhere"), EXPECTED)
    assert decodes == [5]


def test_what_is_done_to_the_images_stays_out_of_the_file(base, decodes):
    read(base)
    read(base).zero_()
    assert torch.equal(read(base), EXPECTED)
    assert decodes == [5]


def test_runs_that_start_together_decode_once(base, decodes, monkeypatch):
    counted = cache.decode

    def slow(paths, height, width):
        time.sleep(0.2)  # time for all other runs to reach the lock
        return counted(paths, height, width)

    monkeypatch.setattr(cache, "decode", slow)
    results = []
    threads = [threading.Thread(target=lambda: results.append(read(base))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(torch.equal(images, EXPECTED) for images in results)
    assert decodes == [5]
