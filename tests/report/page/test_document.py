"""The page: whole, self-contained, escaped, and with the numbers of the runs in it."""

import json
import re
from html.parser import HTMLParser

import pytest

from snip_cli.commands.snip_report import main
from tests.report.runs import evaluations, record

VOID = {"meta", "img"}  # elements of SVG close themselves
EVIL = "</pre><script>alert(1)</script>\"'&<b>"


class Page(HTMLParser):
    """The elements of a page with their attributes, its visible words, and the texts of its points."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def count(self, tag, **attributes):
        return sum(name == tag and attributes.items() <= given.items() for name, given in self.elements)


def page_of(top, *arguments):
    path = top.parent / "report.html"
    assert main([str(top), "--html", str(path), *arguments]) == 0
    return Page(path.read_text(encoding="utf-8"))


def with_layers(folder, kept):
    """Give every seed of a run's folder the counts of three layers, in percent of 1,000 parameters."""
    metrics = json.loads((folder / "metrics.json").read_text())
    for seed in metrics["seeds"]:
        seed["layers"] = [{"name": f"fc{i}", "total": 1000, "kept": 10 * k} for i, k in enumerate(kept, 1)]
    (folder / "metrics.json").write_text(json.dumps(metrics))


def made(folder, **environment):
    (folder / "env.json").write_text(json.dumps(environment))


@pytest.fixture
def top(tmp_path):
    runs = tmp_path / "runs"
    shape = {"dataset.shape": [1, 2, 2]}
    record(runs, "reference", [1.4], sparsity=0.0, **shape)
    snip = record(runs, "snip", [2.0, 3.0, 4.0], masks={0: [[0, 1], [2, 4]]}, **shape)
    with_layers(snip, (2, 3, 10))
    evaluations(snip, {0: [0.5, 0.25], 1: [0.75, 0.25]}, {0: [3.0, 2.0], 1: [5.0, 3.0]})
    made(
        snip, command="snip-run method=snip sparsity=0.95", commit="a" * 40, dirty=True, platform="Linux", device="cpu"
    )
    with_layers(record(runs, "random", [10.0], method="random", **shape), (5, 5, 5))
    return runs


def test_the_page_needs_nothing_but_itself(top):
    page = page_of(top)
    assert not page.count("script") and not page.count("link")
    for _, attributes in page.elements:
        assert all(re.match(r"#|data:", attributes[name]) for name in ("src", "href") if name in attributes)
    assert "url(" not in (top.parent / "report.html").read_text()


def test_the_table_has_our_errors_and_the_papers(top):
    text = page_of(top).text
    assert "snip 0.95" in text and "3.00 ± 1.00" in text
    assert "paper (%)" in text and " 1.6 " in text and "+1.40" in text


def test_columns_without_a_number_are_left_out(tmp_path):
    record(tmp_path / "runs", "a", [2.0], dataset="digits")
    text = page_of(tmp_path / "runs").text
    assert "error (%)" in text and "paper (%)" not in text and "difference" not in text


def test_the_pictures_have_their_values_under_the_pointer(top):
    text = page_of(top).text
    assert "snip, sparsity 0.95: 3.00 ± 1.00 % (n = 3)" in text
    assert "published, sparsity 0.95: 1.6 %" in text
    assert "snip, fc2: 3 % of 1,000" in text and "random, fc2: 5 % of 1,000" in text
    assert "snip, iteration 1,000: 0.625" in text and "snip, iteration 2,000: 2.5" in text


def test_the_first_layers_mask_is_a_picture_in_the_page(top):
    page = page_of(top)
    [source] = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert source.startswith("data:image/png;base64,")
    assert "seed 0" in page.text


def test_a_run_has_its_command_its_commit_its_machine_and_its_settings(top):
    text = page_of(top).text
    assert "snip-run method=snip sparsity=0.95" in text
    assert "a" * 40 + " with uncommitted changes" in text
    assert "Linux, cpu" in text
    assert "schedule.milestones [25000, 50000, 75000]" in text
    assert text.count("not recorded") >= 2  # the two runs without env.json


def test_of_a_sweep_the_page_has_the_command_of_each_run(top):
    sweep = "snip-run -m method=snip,random sparsity=0.95,0.98"
    made(top / "snip", command=sweep)
    text = page_of(top).text
    assert "snip-run method=snip sparsity=0.95" in text and f"Made by {sweep}" in text
    made(top / "snip", command="snip-run -m method=erk,random")
    assert "The command also makes other runs." in page_of(top).text


def test_an_unfinished_run_is_listed_with_its_state(tmp_path):
    record(tmp_path / "runs", "none", [], seeds=3)
    text = page_of(tmp_path / "runs").text
    assert "0 of 3 seeds" in text and "No run is finished." in text


def test_whatever_a_record_says_is_escaped(tmp_path):
    folder = record(tmp_path / "runs", "a&<b>", [2.0], **{"model.name": EVIL, "init.name": EVIL})
    with_layers(folder, (5, 20, 50))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["seeds"][0]["layers"][0]["name"] = EVIL
    metrics["seeds"][0]["collapsed"] = [EVIL]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    made(folder, command=EVIL, commit=EVIL, host=EVIL, platform=EVIL, packages={EVIL: EVIL}, device=EVIL, engine=EVIL)
    page = page_of(tmp_path / "runs")
    assert not page.count("script") and not page.count("b")
    assert EVIL in page.text


def test_two_networks_have_a_section_each(top):
    record(top, "other", [0.9], model="lenet_5_caffe")
    page = page_of(top)
    assert page.count("a", href="#section-2")
    assert "lenet_5_caffe on mnist" in page.text


def test_a_damaged_training_curve_costs_the_curve_alone(top):
    (top / "snip" / "metrics.csv").write_text("nonsense")
    text = page_of(top).text
    assert "Left out:" in text and "metrics.csv is damaged" in text and "3.00 ± 1.00" in text


def test_a_folder_that_is_not_there_is_named(top, capsys):
    assert main([str(top), "--html", str(top / "no" / "report.html")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_the_page_of_a_published_table_has_the_runs_of_that_table_alone(top):
    record(top, "other", [0.9], sparsity=0.5)
    text = page_of(top, "--table", "Table 1").text
    assert "not run yet" in text and "sparsity 0.5:" not in text


def test_a_loss_that_diverged_leaves_a_gap_in_the_picture(top):
    losses = {0: [0.5, float("inf"), 0.25], 1: [0.5, float("nan"), 0.25]}
    evaluations(top / "snip", losses, {seed: [5.0, 4.0, 3.0] for seed in range(2)})
    text = page_of(top).text
    assert "snip, iteration 3,000: 0.25" in text and "snip, iteration 2,000: 4" in text
    assert "nan" not in (top.parent / "report.html").read_text()


def test_a_long_training_shows_forty_values_and_the_last(tmp_path):
    evaluations(record(tmp_path / "runs", "a", [2.0]), {0: [1.0] * 99 + [0.5]}, {0: [3.0] * 100})
    text = page_of(tmp_path / "runs").text
    # Of 100 points every third, in two pictures, each once as title and once as text.
    assert len(re.findall(r"iteration [\d,]+: ", text)) == 34 * 2 * 2
    assert "iteration 100,000: 0.5" in text and "iteration 99,000: 1 " not in text


def test_sparsities_that_look_alike_when_rounded_are_groups_of_their_own(tmp_path):
    for sparsity in (0.90001, 0.90002):
        for method in ("snip", "random"):
            folder = record(tmp_path / "runs", f"{method}{sparsity}", [2.0], method=method, sparsity=sparsity)
            with_layers(folder, (10, 10, 10))
    page = page_of(tmp_path / "runs")
    assert page.count("svg", **{"aria-label": "Density by layer"}) == 2


def test_the_error_stands_before_the_settings_in_which_runs_differ(tmp_path):
    runs = tmp_path / "runs"
    record(runs, "a", [2.0], **{"schedule.learning_rate": 0.01})
    record(runs, "b", [3.0])
    page = page_of(runs)
    words = [
        word for word in page.words if word in ("method", "sparsity", "n", "error (%)", "learning_rate", "effective")
    ]
    assert words.index("error (%)") < words.index("learning_rate")
