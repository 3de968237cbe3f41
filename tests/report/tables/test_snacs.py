"""Our runs among what is known of SNACS and MINT."""

import pytest

from snip_cli.commands.snip_report import main
from snip_cli.config.composition import composer
from snip_cli.report.published.snacs import PUBLISHED_LAYERS, PUBLISHED_SNACS
from snip_cli.report.records import Record
from snip_cli.report.tables.snacs import beside_published, layers_beside_published
from snip_cli.runfolder.results import SeedResult

# Weights of VGG16's layers, and its published early sizes.
VGG16 = (1728, 36864, 73728, 147456, 294912, 589824, 589824, 1179648, *(5 * [2359296]), 262144, 5120)


def run(folder, method="snacs", iterations=105_600, kept=40, wanted=1, finished=True, **settings):
    layers = [{"name": f"layer{place}", "total": 100, "kept": kept} for place in range(15)]
    result = {
        "seed": 0,
        "iterations": iterations,
        "layers": layers,
        "weights_total": 1500,
        "weights_kept": 15 * kept,
        "effective_kept": 15 * kept - 3,
    }
    result |= {"test_error": 7.5, "test_error_lowest": 7.25, "sparse_megabytes": 9.5}
    own = {"method": method, "model": "vgg16", "dataset": "cifar10", "sparsity": "auto", "schedule.batch_size": 128}
    own["schedule.iterations"] = iterations
    return Record([folder], own | settings, {0: SeedResult.from_json(result)} if finished else {}, list(range(wanted)))


@pytest.mark.parametrize(("method", "percent"), [("SNACS", 84.46), ("MINT", 83.46)])
def test_the_published_layers_add_up_to_the_published_total(method, percent):
    removed = sum(count * part for count, part in zip(VGG16, PUBLISHED_LAYERS["vgg16"][method], strict=True))
    assert removed / sum(VGG16) == pytest.approx(percent, abs=0.005)
    assert any(row.removed == percent for row in PUBLISHED_SNACS)


def test_our_run_stands_among_the_published_by_what_it_removed(tmp_path):
    rows = [row for row in beside_published([run(tmp_path)]) if row["model"] == "vgg16"]
    [place] = [place for place, row in enumerate(rows) if row["source"].startswith("ours")]
    assert rows[place] == {
        "model": "vgg16",
        "dataset": "cifar10",
        "method": "snacs",
        "weights removed (%)": 60.0,
        "effective sparsity": 0.602,
        "test error, last evaluation (%)": 7.5,
        "test error, lowest of all evaluations (%)": 7.25,
        "size, sparse (MiB)": 9.5,
        "source": "ours, n = 1",
    }
    assert rows[place - 1]["weights removed (%)"] < 60.0 < rows[place + 1]["weights removed (%)"]


def test_a_short_run_is_called_one(tmp_path):
    [ours] = [row["source"] for row in beside_published([run(tmp_path, iterations=1056)]) if "ours" in row["source"]]
    assert ours == "ours, n = 1, short: 1 % of the full training"


@pytest.mark.parametrize(
    ("model", "dataset", "schedule"),
    [
        ("vgg16", "cifar10", "cifar_300"),
        ("resnet56", "cifar10", "cifar_300"),
        ("resnet50", "ilsvrc2012", "resnet50_100"),
        ("resnet50", "ilsvrc2012", "resnet50_100 schedule.batch_size=256"),
    ],
)
def test_the_schedules_of_the_benchmarks_are_full_ones(model, dataset, schedule, tmp_path):
    with composer(None) as compose:
        chosen = compose.compose([f"model={model}", f"dataset={dataset}", *f"schedule={schedule}".split()]).schedule
    settings = {"model": model, "dataset": dataset, "schedule.batch_size": chosen.batch_size}
    record = run(tmp_path, iterations=chosen.iterations, **settings)
    assert [row["source"] for row in beside_published([record]) if "ours" in row["source"]] == ["ours, n = 1"]


def test_what_is_not_finished_is_marked(tmp_path):
    rows = beside_published([run(tmp_path, wanted=3), run(tmp_path, finished=False, method="mint")])
    ours = {row["method"]: row for row in rows if row["source"].startswith("ours")}
    assert ours["snacs"]["source"] == "ours, n = 1 of 3"
    assert ours["mint"]["source"] == "ours, n = 0 of 1"
    assert {
        ours["mint"][name] for name in ("weights removed (%)", "test error, last evaluation (%)", "effective sparsity")
    } == {None}


def test_the_network_that_each_of_the_two_papers_prunes_is_listed(tmp_path):
    errors = [
        row["test error, lowest of all evaluations (%)"] for row in beside_published([]) if row["method"] == "reference"
    ]
    assert errors == [6.02, 6.06, 7.45, 23.87]


def test_a_run_of_another_data_set_is_left_out(tmp_path):
    other = run(tmp_path, dataset="digits")
    assert not any("ours" in row["source"] for row in beside_published([other]))
    assert not any(f"{tmp_path.name} (% of parameters removed)" in row for row in layers_beside_published([other]))


def test_every_layer_has_a_row_with_each_of_our_runs(tmp_path):
    runs = [run(tmp_path / "one", kept=40), run(tmp_path / "two", kept=10)]
    rows = [row for row in layers_beside_published(runs) if row["model"] == "vgg16"]
    assert len(rows) == 15
    published = [f"{name}, published (% of weights removed)" for name in ("SNACS", "MINT")]
    assert list(rows[3]) == [
        "model",
        "layer",
        "name",
        *published,
        "one (% of parameters removed)",
        "two (% of parameters removed)",
    ]
    assert list(rows[3].values()) == ["vgg16", 4, "layer3", 21.04, 0, 60.0, 90.0]


@pytest.mark.parametrize("form", ["text", "csv", "markdown", "latex"])
def test_both_lists_are_shown_without_any_run(tmp_path, capsys, form):
    for table in ("SNACS", "SNACS layers"):
        assert main([str(tmp_path), "--table", table, "--format", form]) == 0
        said = capsys.readouterr().out
        assert "vgg16" in said
        assert (rf"\caption{{{table}: our runs beside what is published.}}" in said) == (form == "latex")
