"""The first layer's masks as pictures."""

import numpy
import torch

from snip_cli.commands.snip_report import main
from snip_cli.report.captions import phrase
from snip_cli.report.cells import cells
from snip_cli.report.figures.masks import column_names, draw_masks, pictures_of
from snip_cli.report.records import read_tree
from tests.report.pictures import drawn, pixels
from tests.report.runs import record

CLASSES = "method.classes"
SMALL = {"dataset.shape": [1, 2, 3]}
KEPT = [[0, 1, 2], [3, 4, 4]]


def mask_of(top, name, kept=KEPT, **settings):
    return record(top, name, [1.0], masks={0: kept}, **SMALL, **settings)


def drawn_axes(top):
    return draw_masks(cells(read_tree(top))).figure.axes


def words(labels):
    return [label.get_text() for label in labels]


def test_a_picture_is_drawn_with_what_it_keeps_in_numbers_beside_it(tmp_path):
    mask_of(tmp_path, "a")
    [row] = drawn(tmp_path, "--masks")
    names = ("picture", "sparsity", "seed", "weights_kept", "pixels_kept", "most_on_a_pixel")
    assert [row[name] for name in names] == ["1", "0.95", "0", "14", "5", "4"]


def test_the_pixels_of_all_pictures_lie_in_a_file_of_their_own(tmp_path):
    mask_of(tmp_path, "a", sparsity=0.5)
    mask_of(tmp_path, "b", [[4, 4, 4], [0, 0, 1]], sparsity=0.9)
    assert [(row["picture"], row["sparsity"]) for row in drawn(tmp_path, "--masks")] == [("1", "0.5"), ("2", "0.9")]
    found = [tuple(int(row[name]) for name in ("picture", "y", "x", "value")) for row in pixels(tmp_path)]
    assert found[:6] == [(1, 0, 0, 0), (1, 0, 1, 1), (1, 0, 2, 2), (1, 1, 0, 3), (1, 1, 1, 4), (1, 1, 2, 4)]
    assert [value for *_, value in found[6:]] == [4, 4, 4, 0, 0, 1]


def test_it_comes_without_a_table_and_says_where_it_is(tmp_path, capsys):
    mask_of(tmp_path, "a")
    path = tmp_path / "masks.png"
    assert main([str(tmp_path), "--masks", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"drawn: {path}, its numbers: {tmp_path / 'masks.csv'}, {tmp_path / 'masks-pixels.csv'}\n"


def test_it_is_of_the_first_seed(tmp_path):
    record(tmp_path, "a", [1.0, 2.0], masks={7: KEPT, 3: [[4, 4, 4], [4, 4, 4]]}, **SMALL)
    [picture] = pictures_of(cells(read_tree(tmp_path)))
    assert (picture.seed, picture.kept_HW.tolist()) == (3, [[4, 4, 4], [4, 4, 4]])


def test_a_row_a_sparsity_and_a_column_a_class_and_a_block_a_data_set(tmp_path):
    for place, (dataset, label, sparsity) in enumerate(
        (dataset, label, sparsity)
        for dataset in ("mnist", "fashion_mnist")
        for label in (0, 1, 2)
        for sparsity in (0.5, 0.9)
    ):
        mask_of(tmp_path, str(place), dataset=dataset, sparsity=sparsity, **{CLASSES: [label]})
    blocks = drawn_axes(tmp_path)
    assert [ax.get_title() for ax in blocks] == ["mnist", "fashion_mnist"]
    for ax in blocks:
        assert words(ax.get_xticklabels()) == ["0", "1", "2"]
        assert ax.get_xlabel() == "class"
        assert words(ax.get_yticklabels()) == ["50", "90"]
        assert ax.get_images()[0].get_array().shape == (2 * 2 + 1, 3 * 3 + 2)


def test_each_picture_is_scaled_to_its_own_largest_number(tmp_path):
    mask_of(tmp_path, "a", [[0, 1, 2], [1, 1, 1]], sparsity=0.9)
    mask_of(tmp_path, "b", [[4, 4, 4], [2, 2, 2]], sparsity=0.5)
    [ax] = drawn_axes(tmp_path)
    image = numpy.ma.filled(ax.get_images()[0].get_array(), numpy.nan)
    assert image[:2].tolist() == [[1, 1, 1], [0.5, 0.5, 0.5]]
    assert numpy.isnan(image[2]).all()
    assert image[3:].tolist() == [[0, 0.5, 1], [0.5, 0.5, 0.5]]


def test_what_is_not_there_stays_empty(tmp_path):
    for name, label, sparsity in (("a", 0, 0.5), ("b", 0, 0.9), ("c", 1, 0.9)):
        mask_of(tmp_path, name, sparsity=sparsity, **{CLASSES: [label]})
    [ax] = drawn_axes(tmp_path)
    image = numpy.ma.filled(ax.get_images()[0].get_array(), numpy.nan)
    assert numpy.isnan(image[:2, 4:]).all()
    assert not numpy.isnan(image[3:, 4:]).any()


def test_columns_are_named_by_their_one_setting_or_by_all_that_differ():
    assert column_names([{CLASSES: [3]}, {CLASSES: [4, 5]}, {CLASSES: []}]) == ("class", ["3", "4, 5", "all"])
    assert column_names([{"method.batch_size": size} for size in (1, 10)]) == ("saliency batch", ["1", "10"])
    assert column_names([{"x.an_option": 3}, {"x.an_option": 0.5}]) == ("an option", ["3", "0.5"])
    assert column_names([{"x.a": 1, "x.b": 2}, {"x.a": 3, "x.b": 4}]) == ("", ["a 1, b 2", "a 3, b 4"])
    assert column_names([{"x.a": 1}]) == ("", [""])


def test_the_title_says_what_was_not_trained(tmp_path):
    mask_of(tmp_path, "a", iterations=0, **{"schedule.milestones": []})
    title = draw_masks(cells(read_tree(tmp_path))).figure.get_suptitle()
    assert title == "weights kept per pixel: snip, lenet_300_100, mnist, seed 0 (n = 1, not trained)"


def refusal(top, capsys):
    assert main([str(top), "--masks", str(top / "masks.png")]) == 2
    return capsys.readouterr().err


def test_a_network_whose_first_layer_is_not_on_the_pixels_is_named_with_the_remedy(tmp_path, capsys):
    folder = record(tmp_path, "a", [1.0], model="gru_s")
    torch.save({0: {"projection.weight": torch.ones(128, 28).bool()}}, folder / "mask.pt")
    assert "The first layer of gru_s is not linear on the pixels" in refusal(tmp_path, capsys)
    assert not list(tmp_path.glob("masks.*"))


def test_a_reference_has_nothing_to_show(tmp_path, capsys):
    mask_of(tmp_path, "a", sparsity=0)
    assert "There is nothing to draw: no pruned run has a mask.pt, and" in refusal(tmp_path, capsys)


def test_a_damaged_mask_is_named(tmp_path, capsys):
    folder = mask_of(tmp_path, "a")
    (folder / "mask.pt").write_bytes(b"nothing")
    assert f"{folder / 'mask.pt'} is damaged" in refusal(tmp_path, capsys)


def test_a_run_that_was_only_begun_is_drawn_too(tmp_path):
    folder = mask_of(tmp_path, "a")
    (folder / "metrics.json").unlink()
    assert len(drawn(tmp_path, "--masks")) == 1


def test_an_empty_list_of_classes_is_all_of_them_and_any_other_empty_list_is_none():
    assert phrase("method.classes", []) == "class all"
    assert phrase("schedule.milestones", []) == "milestones none"
    assert phrase("schedule.milestones", [10, 20]) == "milestones 10, 20"
