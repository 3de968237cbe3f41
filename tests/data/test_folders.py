import os

import pytest
import torch
from PIL import Image

from snip_cli.data.decode import decode
from snip_cli.data.folders import list_images
from snip_cli.errors import ConfigError
from tests.data.pictures import draw, draw_classes, one_sentence


def refusal(folder, *arguments, **options):
    with pytest.raises(ConfigError) as error:
        list_images(folder, *arguments, **options)
    return one_sentence(error.value)


def test_labels_are_places_among_the_sorted_class_names_and_files_are_sorted_in_their_class(tmp_path):
    for name in ("zebra/b.png", "zebra/a.png", "ant/9.png", "ant/10.png", "Bee/x.png"):
        draw(tmp_path / name)
    listing = list_images(tmp_path)
    assert listing.classes == ["Bee", "ant", "zebra"]
    assert [str(path.relative_to(tmp_path)) for path in listing.paths] == [
        "Bee/x.png",
        "ant/10.png",
        "ant/9.png",
        "zebra/a.png",
        "zebra/b.png",
    ]
    assert listing.labels.tolist() == [0, 1, 1, 2, 2]
    assert listing.labels.dtype == torch.int64


def test_every_suffix_that_pillow_reads_counts_in_either_case(tmp_path):
    names = ["a.png", "b.jpg", "c.jpeg", "d.JPEG", "e.bmp", "f.webp", "g.PNG", "h.tif"]
    names += ["i.jfif", "j.GIF", "k.jpe", "l.jp2", "m.avif", "n.tga", "o.ico", "p.mpo", "q.pbm"]
    (tmp_path / "ant").mkdir()
    for name in names:
        (tmp_path / "ant" / name).write_bytes(b"not opened")
    assert [path.name for path in list_images(tmp_path).paths] == names


@pytest.mark.parametrize("suffix", [".jfif", ".gif", ".jpe", ".jp2", ".tiff", ".tga", ".webp", ".ppm", ".qoi", ".dds"])
def test_what_is_listed_is_decoded(suffix, tmp_path):
    path = draw(tmp_path / "ant" / "a.png").with_suffix(suffix)
    Image.open(tmp_path / "ant" / "a.png").save(path, {".jfif": "JPEG", ".jpe": "JPEG"}.get(suffix))
    (tmp_path / "ant" / "a.png").unlink()
    listing = list_images(tmp_path)
    assert listing.paths == [path]
    assert decode(listing.paths, 8, 8).shape == (1, 3, 8, 8)


def test_what_pillow_only_recognises_is_no_image(tmp_path):
    draw(tmp_path / "ant" / "a.png")
    for name in ("b.pdf", "c.mpg", "d.h5", "e.eps"):
        (tmp_path / "ant" / name).write_bytes(b"%PDF")
    assert [path.name for path in list_images(tmp_path).paths] == ["a.png"]


def test_a_warning_says_how_many_files_are_passed_over_and_why(tmp_path, caplog):
    draw_classes(tmp_path, {"ant": 3, "bee": 2})
    for name in ("ant/1.heic", "bee/2.HEIC", "bee/3", "bee/.hidden", "ant/new/a.png", "ant/new/newer/b.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "labels.csv").write_text("no image")
    (tmp_path / "bee" / "empty").mkdir()
    assert len(list_images(tmp_path).paths) == 5
    [line] = caplog.messages
    assert line == (
        f"6 of 11 files in {tmp_path} are passed over: "
        "2 .heic, 2 in subfolders of a class, 1 beside the class folders, 1 without a suffix"
    )


def test_nothing_is_said_where_every_file_is_read(tmp_path, caplog):
    draw_classes(tmp_path, {"ant": 3, "bee": 2})
    (tmp_path / "ant" / ".DS_Store").touch()
    list_images(tmp_path)
    assert caplog.messages == []


def test_of_many_kinds_of_files_the_most_frequent_are_named(tmp_path, caplog):
    draw_classes(tmp_path, {"ant": 1})
    for number, suffix in enumerate("abcdefg"):
        for copy in range(number + 1):
            (tmp_path / "ant" / f"{copy}.{suffix}").touch()
    list_images(tmp_path)
    assert caplog.messages[0].endswith("passed over: 7 .g, 6 .f, 5 .e, 4 .d, 3 .c and 3 others")


def test_hidden_files_other_files_and_deeper_folders_are_passed_over(tmp_path):
    draw(tmp_path / "ant" / "a.png")
    for name in (
        "ant/.b.png",
        "ant/Thumbs.db",
        "ant/png",
        ".hidden/c.png",
        "readme.txt",
        "loose.png",
        "ant/deeper.png/d.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    listing = list_images(tmp_path)
    assert (listing.classes, [path.name for path in listing.paths]) == (["ant"], ["a.png"])


def test_images_may_lie_in_a_folder_inside_that_of_the_class(tmp_path):
    draw_classes(tmp_path, {"ant": 2, "bee": 1}, inside="images")
    draw(tmp_path / "ant" / "beside.png")
    listing = list_images(tmp_path, inside="images")
    assert [path.parts[-3:] for path in listing.paths] == [
        ("ant", "images", "0.png"),
        ("ant", "images", "1.png"),
        ("bee", "images", "0.png"),
    ]


def test_a_missing_folder_is_reported(tmp_path):
    assert refusal(tmp_path / "train").startswith(
        f"The folder {tmp_path / 'train'} does not exist: put the images there, or point dataset.root"
    )


def test_a_file_in_place_of_the_folder_is_reported(tmp_path):
    assert "does not exist" in refusal(draw(tmp_path / "train.png"))


def test_a_folder_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert refusal(tmp_path) == f"{tmp_path} cannot be read (Permission denied): make it readable."


def test_a_folder_without_classes_is_reported(tmp_path):
    draw(tmp_path / "loose.png")
    assert refusal(tmp_path).startswith(f"{tmp_path} holds no class folders: ")


def test_a_class_without_an_image_is_reported(tmp_path):
    draw_classes(tmp_path, {"ant": 1, "bee": 1})
    (tmp_path / "cow").mkdir()
    (tmp_path / "cow" / "notes.txt").write_text("none yet")
    assert refusal(tmp_path).startswith(f"{tmp_path / 'cow'} holds no images that can be read, but 1 .txt: ")
    (tmp_path / "cow" / "notes.txt").unlink()
    assert refusal(tmp_path).startswith(f"{tmp_path / 'cow'} holds no images: ")


def test_a_class_whose_images_lie_in_subfolders_is_reported(tmp_path):
    draw(tmp_path / "ant" / "field" / "a.png")
    assert "ant holds no images that can be read, but 1 in subfolders of a class: " in refusal(tmp_path)


def test_an_empty_file_is_reported_by_name(tmp_path):
    draw_classes(tmp_path, {"ant": 3})
    (tmp_path / "ant" / "1.png").write_bytes(b"")
    assert refusal(tmp_path) == f"{tmp_path / 'ant' / '1.png'} is empty (0 bytes): copy it again or delete it."


def test_a_link_to_nothing_is_reported_by_name(tmp_path):
    draw_classes(tmp_path, {"ant": 1})
    (tmp_path / "ant" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert refusal(tmp_path).startswith(f"{tmp_path / 'ant' / 'gone.png'} cannot be read (")


def test_the_same_classes_as_in_training_are_accepted(tmp_path):
    draw_classes(tmp_path, {"ant": 1, "bee": 1})
    assert list_images(tmp_path, ["ant", "bee"]).labels.tolist() == [0, 1]


def test_a_class_that_training_has_and_the_test_folder_has_not_is_reported(tmp_path):
    draw_classes(tmp_path, {"ant": 1, "dog": 1})
    text = refusal(tmp_path, ["ant", "bee", "cow", "dog"])
    assert f"{tmp_path} (2 classes) has no class folder 'bee', which the training images (4 classes) have: " in text


def test_a_class_that_training_has_not_is_reported(tmp_path):
    draw_classes(tmp_path, {"ant": 1, "bee": 1, "cow": 1})
    text = refusal(tmp_path, ["ant", "cow"])
    assert (
        f"{tmp_path} (3 classes) has a class folder 'bee', which the training images (2 classes) do not have: " in text
    )
