import io

import numpy
import pytest
import torch
from PIL import Image

from snip_cli.data import decode as decoder
from snip_cli.data.decode import check_header, decode
from snip_cli.errors import ConfigError
from tests.data.pictures import as_tensor, draw, one_sentence, pixels


def refusal(path):
    with pytest.raises(ConfigError) as error:
        decode([path], 8, 8)
    return one_sentence(error.value)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm"])
def test_lossless_images_keep_every_bit(suffix, tmp_path):
    images = decode([draw(tmp_path / f"{number}{suffix}", number) for number in range(3)], 8, 8)
    assert images.dtype == torch.uint8
    assert torch.equal(images, torch.stack([as_tensor(number) for number in range(3)]))


def test_images_come_in_the_order_of_the_paths_however_they_are_shared_out(tmp_path, monkeypatch):
    monkeypatch.setattr(decoder, "AT_ONCE", 3)
    order = numpy.random.RandomState(0).permutation(20).tolist()
    images = decode([draw(tmp_path / f"{number}.png", number) for number in order], 8, 8)
    assert torch.equal(images, torch.stack([as_tensor(number) for number in order]))


def test_a_jpeg_is_nearly_its_original(tmp_path):
    smooth = numpy.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(numpy.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpeg", quality=95)
    [image] = decode([tmp_path / "a.jpeg"], 32, 32)
    assert (image.permute(1, 2, 0).int() - torch.from_numpy(smooth).int()).abs().max() < 16


GREY = pixels(1)[:, :, 0]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(GREY), numpy.stack([GREY] * 3, axis=2)),
        (Image.fromarray(GREY > 99), numpy.stack([(GREY > 99) * numpy.uint8(255)] * 3, axis=2)),
        (Image.fromarray(numpy.dstack([pixels(2), GREY])), pixels(2)),
        (Image.fromarray(numpy.dstack([GREY, GREY[::-1]])), numpy.stack([GREY] * 3, axis=2)),
        (Image.fromarray(GREY // 64).convert("P"), numpy.stack([GREY // 64] * 3, axis=2)),
    ],
    ids=["L", "1", "RGBA", "LA", "P"],
)
def test_other_modes_become_three_channels(image, expected, tmp_path, request):
    assert image.mode == request.node.callspec.id
    image.save(tmp_path / "a.png")
    [decoded] = decode([tmp_path / "a.png"], 8, 8)
    assert decoded.permute(1, 2, 0).tolist() == expected.tolist()


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    [image] = decode([tmp_path / "red.jpg"], 8, 8)
    assert image[0].min() > 250
    assert image[1:].max() < 5


@pytest.mark.parametrize("upright", [False, True])
def test_the_longer_side_is_cropped_around_its_centre(upright, tmp_path):
    """Of three squares (red, green, blue) the green one in the middle remains, with equal parts of red and blue at its
    edges.
    """
    striped = numpy.zeros((12, 36, 3), dtype=numpy.uint8)
    for channel in range(3):
        striped[:, 12 * channel : 12 * (channel + 1), channel] = 255
    Image.fromarray(striped.transpose(1, 0, 2) if upright else striped).save(tmp_path / "a.png")
    [image] = decode([tmp_path / "a.png"], 6, 6)
    red, green, blue = image.transpose(1, 2) if upright else image
    assert green[:, 1:-1].unique().tolist() == [255]
    assert green[:, 0].min() > 200
    assert torch.equal(red, blue.flip(1))


def test_height_and_width_are_not_mixed_up(tmp_path):
    draw(tmp_path / "a.png", 3, height=4, width=10)
    assert torch.equal(decode([tmp_path / "a.png"], 4, 10)[0], as_tensor(3, 4, 10))
    assert decode([tmp_path / "a.png"], 10, 4).shape == (1, 3, 10, 4)


def test_shrinking_averages_rather_than_leaves_pixels_out(tmp_path):
    board = numpy.indices((64, 64)).sum(axis=0) % 2 * numpy.uint8(255)
    Image.fromarray(numpy.stack([board] * 3, axis=2).astype(numpy.uint8)).save(tmp_path / "a.png")
    [image] = decode([tmp_path / "a.png"], 8, 8)
    assert 120 <= int(image.min()) <= int(image.max()) <= 135


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_refused_by_name(suffix, share, tmp_path):
    path = draw(tmp_path / f"a{suffix}", 0, 64, 64)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    text = refusal(path)
    assert text.startswith(f"{path} cannot be decoded (")
    assert text.endswith("): copy it again or delete it.")


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\x89PNG\r\n\x1a\n", bytes(100), b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_refused_by_name(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    assert refusal(tmp_path / "a.png").startswith(f"{tmp_path / 'a.png'} cannot be decoded (")


def test_a_missing_file_is_refused_by_name(tmp_path):
    assert refusal(tmp_path / "a.png").startswith(f"{tmp_path / 'a.png'} cannot be decoded (")


def test_more_than_8_bits_are_refused_rather_than_cut_off(tmp_path):
    Image.fromarray(GREY.astype(numpy.uint16) * 256).save(tmp_path / "a.png")
    assert (
        refusal(tmp_path / "a.png") == f"{tmp_path / 'a.png'} has more than 8 bits per channel: convert it to 8 bits."
    )
    Image.fromarray(GREY.astype(numpy.float32)).save(tmp_path / "a.tif")
    assert "more than 8 bits" in refusal(tmp_path / "a.tif")


def test_one_bad_image_among_many_is_found(tmp_path):
    paths = [draw(tmp_path / f"{number}.png", number) for number in range(200)]
    paths[150].write_bytes(b"bad")
    with pytest.raises(ConfigError, match=r"150\.png cannot be decoded"):
        decode(paths, 8, 8)


class Stderr(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_there_is_a_bar_on_a_terminal_only(terminal, tmp_path, monkeypatch):
    stderr = Stderr(terminal)
    monkeypatch.setattr("sys.stderr", stderr)
    decode([draw(tmp_path / "a.png")], 8, 8)
    assert ("decoding" in stderr.getvalue()) is terminal


@pytest.mark.parametrize("read", [lambda path: decode([path], 8, 8), check_header], ids=["decode", "header"])
def test_a_huge_image_is_called_too_large(read, tmp_path, monkeypatch):
    path = draw(tmp_path / "a.png", height=30, width=20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 299)
    with pytest.raises(ConfigError) as error:
        read(path)
    said = "is too large (Image size (600 pixels) exceeds limit of 598 pixels): scale it down or delete it."
    assert str(error.value) == f"{path} {said}"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "cannot be read (Permission denied): make it readable."),
        (MemoryError(), "does not fit into memory (out of memory): scale it down or delete it."),
    ],
)
def test_a_file_that_may_be_whole_need_not_be_copied_again(error, said, tmp_path, monkeypatch):
    def refuse(path):
        raise error

    monkeypatch.setattr(Image, "open", refuse)
    assert refusal(tmp_path / "a.png") == f"{tmp_path / 'a.png'} {said}"
