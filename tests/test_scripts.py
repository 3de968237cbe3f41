"""The scripts: which runs a paper's table or figure asks for, with a stand-in for Python that notes its arguments."""

import ast
import importlib
import itertools
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from snip_cli.config import reading as config
from snip_cli.config.composition import composer
from snip_cli.report.tables.published import numbers_of
from snip_cli.run.checks import check
from tests.snip_run import ROOT

LENETS = ("lenet_300_100", "lenet_5_caffe")
PAPER = {
    "table1": 20,
    "table2": 1,
    "table3": 20,
    "figure1": 20,
    "figure2": 1,
    "figure3": 20,
    "figure4": 1,
    "snacs": 1,
    "methods": 3,
}

SCRIPTS = ROOT / "scripts"
PYTHON_SCRIPTS = sorted(
    path.name
    for path in SCRIPTS.iterdir()
    if path.is_file() and (path.suffix == ".py" or path.read_text().startswith("#!/usr/bin/env python"))
)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A stand-in for Python that fails on one model and is stopped at three settings, as by Ctrl-C, by SIGTERM and where one is refused, and the commands that it was given."""
    noted = tmp_path / "calls"
    stand_in = tmp_path / "python"
    ends = "*model=vgg_c*) exit 1;; *stop=here*) exit 130;; *terminated=here*) exit 143;; *refused=here*) exit 2;;"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {noted}\ncase "$*" in {ends} esac\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(stand_in))
    return lambda: noted.read_text().splitlines()


def script(name, *arguments):
    return subprocess.run([ROOT / "scripts" / name, *arguments], capture_output=True, text=True, check=False)


def runs(sweeps):
    """The runs of some sweeps, each as its settings but seeds and folder."""
    made = []
    for sweep in sweeps:
        assert sweep.startswith("-m snip_cli -m ")
        pairs = [word.partition("=")[::2] for word in sweep.split()[3:]]
        swept = [
            [(name, one) for one in re.split(r",(?![^\[]*\])", value)]  # at commas that are in no list
            for name, value in pairs
            if name not in ("seeds", "output_dir")
        ]
        made += [dict(choice) for choice in itertools.product(*swept)]
    return made


def chosen(made, *names):
    return [tuple(run.get(name) for name in names) for run in made]


@pytest.mark.parametrize("name", PAPER)
def test_the_number_of_seeds_is_the_papers_and_the_runs_have_a_folder_of_their_own(name, calls):
    script(name)
    for call in (call for call in calls() if " -m model=" in call):
        quoted = name == "table1" and "method=" in call
        seeds = {"lenet_300_100": 5, "lenet_5_caffe": 3}[call.split()[3].partition("=")[2]] if quoted else PAPER[name]
        first = name == "methods" and " seeds=1 " in call  # one seed of everything comes before the others
        assert f" seeds={1 if first else seeds} output_dir=runs/{name}" in call


def with_something_new(made):
    """Of some runs those that have a setting that none before them has."""
    seen = set()
    for run in made:
        if not run.items() <= seen:
            seen |= run.items()
            yield run


@pytest.mark.parametrize("name", PAPER)
def test_every_setting_of_a_script_composes_and_fits_its_network(name, calls):
    script(name, "--iterations", "5")
    sweeps = [call for call in calls() if " -m model=" in call]
    assert sweeps
    with composer(None) as compose:
        for run in with_something_new(runs(sweeps)):
            check(config.load(compose.compose([f"{key}={value}" for key, value in run.items()])))


@pytest.mark.parametrize("name", PAPER)
def test_a_short_look_in_another_folder_with_a_setting_for_every_run(name, calls):
    arguments = ("--seeds", "3", "--iterations", "50", "--output", "there", "dtype=bfloat16")
    assert script(name, *arguments).returncode == (name == "table2")  # the stand-in fails on one of its networks
    sweeps = [call for call in calls() if " -m model=" in call]
    assert sweeps
    there = f"output_dir={Path('there').resolve()}"  # from wherever the script was called
    last = [sweep for sweep in sweeps if name != "methods" or " seeds=1 " not in sweep]
    assert len(last) == len(sweeps) / (2 if name == "methods" else 1)
    assert all(f"seeds=3 {there} dtype=bfloat16 schedule.iterations=50" in sweep for sweep in last)


@pytest.mark.parametrize("name", PAPER)
def test_what_a_script_does_not_know_is_refused(name, calls):
    refused = script(name, "--epochs", "3")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"scripts/{name}: there is no option '--epochs'; usage: scripts/{name} ")
    assert script(name, "--seeds").stderr == f"scripts/{name}: --seeds needs a value\n"
    assert script(name, "--seeds", "--iterations").stderr.endswith("--seeds needs a whole number, not '--iterations'\n")
    assert script(name, "--help").stdout.startswith(f"scripts/{name} ")


def test_a_failed_sweep_does_not_stop_the_rest_and_the_exit_code_tells(calls):
    assert script("table2").returncode == 1  # of vgg_c
    assert sum("vgg_d" in call for call in calls()) == 1


@pytest.mark.parametrize("setting, code", [("stop=here", 130), ("terminated=here", 143), ("refused=here", 2)])
def test_what_stops_a_sweep_and_a_setting_that_is_refused_stop_the_script(setting, code, calls):
    assert script("table2", setting).returncode == code
    assert len(calls()) == 1


def test_table1_runs_every_row_and_on_lenet_300_100_every_method_at_the_sparsities_of_snip(calls):
    script("table1")
    *sweeps, report = calls()
    found = chosen(runs(sweeps), "model", "method", "sparsity")
    made = {(model, method or ("snip" if float(s) else "reference"), float(s)) for model, method, s in found}
    rows = {tuple(n.where[key] for key in ("model", "method", "sparsity")) for n in numbers_of("Table 1")}
    methods = {method for _, method, _ in rows} - {"reference"}
    assert made == rows | {("lenet_300_100", method, sparsity) for method in methods for sparsity in (0.95, 0.98)}
    assert len(found) == len(made) == 34
    assert [model for model, *_ in found] == sorted(model for model, *_ in found)
    assert report == "-m snip_cli.commands.snip_report runs/table1 --table Table 1 --columns weights,cost"


def test_table2_runs_every_network_at_its_sparsity_and_ends_with_the_table(calls):
    script("table2")
    *sweeps, report = calls()
    order = "lstm_s lstm_b gru_s gru_b vgg_like alexnet_s vgg_c vgg_d alexnet_b wrn_16_8 wrn_22_8 wrn_16_10"
    sparsity = {"vgg_like": "0.97", "alexnet_s": "0.9", "alexnet_b": "0.9"}
    expected = []
    for model in order.split():
        dataset = "mnist" if model.startswith(("lstm", "gru")) else "cifar10"
        expected += [(model, dataset, "0"), (model, dataset, sparsity.get(model, "0.95"))]
    assert chosen(runs(sweeps), "model", "dataset", "sparsity") == expected
    assert report == "-m snip_cli.commands.snip_report runs/table2 --table Table 2"


def test_table3_scores_with_four_initialisers_and_trains_with_adam(calls):
    script("table3")
    *sweeps, report = calls()
    networks = (*LENETS, "lstm_s", "gru_s")
    cells = itertools.product(networks, ("rn", "tn", "vs_x", "vs_h"), ["0.9"], ["lenet_adam"])
    assert chosen(runs(sweeps), "model", "init", "sparsity", "schedule") == list(cells)
    assert all("init_train" not in sweep for sweep in sweeps)
    assert report == "-m snip_cli.commands.snip_report runs/table3 --table Table 3"


def test_figure1_sweeps_the_sparsity_of_both_lenets(calls):
    script("figure1")
    *sweeps, report = calls()
    sparsity = ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.98", "0.99"]
    assert chosen(runs(sweeps), "model", "sparsity") == list(itertools.product(LENETS, sparsity))
    assert report == "-m snip_cli.commands.snip_report runs/figure1 --figure runs/figure1/figure1.png"


def test_figure2_prunes_by_the_images_of_one_class_and_trains_nothing(calls):
    script("figure2", "--iterations", "50")
    *sweeps, report = calls()
    classes = [f"[{digit}]" for digit in range(10)]
    sparsity = [f"0.{tenth}" for tenth in range(1, 10)]
    masks = itertools.product(("mnist", "fashion_mnist"), classes, sparsity, ["0"])
    assert chosen(runs(sweeps), "dataset", "method.classes", "sparsity", "schedule.iterations") == list(masks)
    assert report == "-m snip_cli.commands.snip_report runs/figure2 --masks runs/figure2/figure2.png"


def test_figure3_varies_the_saliency_batch_and_ends_with_table_and_picture(calls):
    script("figure3")
    *sweeps, table, picture = calls()
    sizes = [("0.9", size) for size in ("1", "10", "100", "1000", "10000")]
    assert chosen(runs(sweeps), "sparsity", "method.batch_size") == sizes
    assert table == "-m snip_cli.commands.snip_report runs/figure3 --table Figure 3"
    assert picture == "-m snip_cli.commands.snip_report runs/figure3 --batch-sizes runs/figure3/figure3.png"


def test_figure4_fits_true_and_random_labels_with_the_l2_term_in_one_line_alone(calls):
    script("figure4")
    *sweeps, report = calls()
    made = runs(sweeps)
    assert sorted(chosen(made, "sparsity", "dataset.random_labels", "schedule.weight_decay")) == [
        *[("0", "false", "0"), ("0", "true", "0"), ("0", "true", "0.0005")],
        *[("0.99", "false", "0"), ("0.99", "true", "0")],
    ]
    assert {run["model"] for run in made} == {"lenet_5_caffe"}
    assert {run["schedule.train_error"] for run in made} == {"true"}
    assert report == "-m snip_cli.commands.snip_report runs/figure4 --curves runs/figure4/figure4.png"


def test_snacs_can_run_one_network_alone(calls):
    script("snacs", "--iterations", "5", "--only", "resnet56")
    *sweeps, report = calls()
    assert [(run["model"], run["method"]) for run in runs(sweeps)] == [("resnet56", "snacs")] * 3 + [
        ("resnet56", "mint")
    ] * 2
    assert all("dense_schedule.iterations=5 " in sweep and "schedule.iterations=5" in sweep for sweep in sweeps)
    assert report == "-m snip_cli.commands.snip_report runs/snacs --table SNACS"


AT_INIT = {"snip", "grasp", "synflow", "iter_snip", "force", "random", "uniform", "erk", "magnitude"}
AFTER = {"lamp", "imp", "lwc", "obd", "l_obs"}
DURING = {"gmp", "rigl", "set", "dns", "lc", "sws", "sparse_vd"}


def test_methods_runs_every_method_at_every_sparsity_and_one_seed_before_the_others(calls):
    script("methods", "--only", "lenet_300_100")
    calls = calls()
    first, report, *rest = (calls[:7], calls[7], calls[8:15], calls[15])
    assert rest == [[call.replace(" seeds=1 ", " seeds=3 ") for call in first], report]
    sparsities = ["0.9", "0.95", "0.98", "0.99", "0.995"]
    made = {(run["method"], run["sparsity"]) for run in runs(first)}
    assert made - {(method, "0") for method in AT_INIT} == {*itertools.product(AT_INIT | AFTER | DURING, sparsities)}
    there = "runs/methods/lenet_300_100"
    assert report == (
        f"-m snip_cli.commands.snip_report runs/methods --pivot method:sparsity --figure {there}.png --logit --log "
        f"--own-schedules --costs {there}_costs.png"
    )


def test_methods_has_a_short_protocol_of_each_schedule_for_lenet_5_caffe(calls):
    script("methods", "--only", "lenet_5_caffe", "--seeds", "1")
    *sweeps, report = calls()
    assert {(run["method"], run["sparsity"]) for run in runs(sweeps) if run["sparsity"] != "0"} == {
        *itertools.product(AT_INIT | AFTER | DURING, ("0.98", "0.99"))
    }
    with composer(None) as compose:
        for run in with_something_new(runs(sweeps)):
            schedule, full = (
                config.load(compose.compose([f"{key}={value}" for key, value in settings.items()])).schedule
                for settings in (run, {"model": "lenet_5_caffe", "schedule": run["schedule"]})
            )
            assert schedule.iterations <= 30_000
            scaled = [milestone * schedule.iterations / full.iterations for milestone in full.milestones]
            assert schedule.milestones == pytest.approx(scaled, abs=1)
    assert "lenet_5_caffe_costs.png" in report


def test_methods_compares_those_at_initialisation_and_their_ablations_on_resnet20(calls):
    told = script("methods", "--only", "resnet20", "--seeds", "1").stdout
    *sweeps, report = calls()
    names = ("method", "method.redraw", "method.ablation")
    ours = {(*each, s) for *each, s in chosen(runs(sweeps), *names, "sparsity") if s != "0"}
    plain = [(m, "false", None) for m in AT_INIT - {"iter_snip", "force"}]
    ablations = [(m, "false", "shuffle_layers") for m in ("snip", "grasp", "synflow")]
    ablations += [("snip", "true", None), ("snip", "false", "invert")]
    assert ours == {(*each, s) for each in plain + ablations for s in ("0.9", "0.98")}
    assert {run["schedule"] for run in runs(sweeps)} == {"cifar_15_epochs"}
    assert report.endswith(" runs/methods --pivot method:sparsity --figure runs/methods/resnet20.png --logit --log")
    assert "Published" in told and "ResNet-18" in told


@pytest.mark.parametrize("network", [*LENETS, "resnet20"])
def test_no_method_of_methods_refuses_its_highest_sparsity(network, calls):
    script("methods", "--only", network, "--seeds", "1")
    highest = {}
    for run in runs(call for call in calls() if " -m model=" in call):
        key = (run["method"], run.get("method.ablation"))
        highest[key] = max(highest.get(key, run), run, key=lambda run: float(run["sparsity"]))
    with composer(None) as compose:
        for run in highest.values():
            check(config.load(compose.compose([f"{key}={value}" for key, value in run.items()])))


def test_methods_reports_on_what_was_asked_for_and_not_on_the_rounds_before_it(calls, tmp_path):
    asked = [
        "reference-resnet20-cifar10-seed0-a",
        "snip-resnet20-cifar10-s0.9-seed0-b",
        "erk-resnet20-cifar10-s0.98-seed0-c",
    ]
    others = [
        "imp-resnet20-cifar10-s0.8926-seed0-d",
        "snip-resnet20-cifar10-s0.95-seed0-e",
        "snip-lenet_300_100-mnist-s0.9-seed0-f",
    ]
    for name in asked + others:
        (tmp_path / "some runs" / name).mkdir(parents=True)
    script("methods", "--only", "resnet20", "--seeds", "1", "--output", str(tmp_path / "some runs"))
    named = calls()[-1].partition("snip_report ")[2].partition(" --pivot")[0]
    assert named == " ".join(f"{tmp_path}/some runs/{name}" for name in asked)


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "figure1", "snacs"])
def test_one_network_alone(name, calls):
    script(name)
    network = "vgg16" if name == "snacs" else "lstm_s" if name == "table2" else "lenet_300_100"
    of_it = [call for call in calls() if f" -m model={network} " in call]
    before = len(calls())
    assert script(name, "--only", network).returncode == 0
    *sweeps, report = calls()[before:]
    assert sweeps == of_it
    assert "snip_cli.commands.snip_report" in report


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "figure1", "snacs", "methods"])
def test_a_network_that_is_not_of_the_table_is_refused(name, calls):
    script(name)
    networks = dict.fromkeys(run["model"] for run in runs(call for call in calls() if " -m model=" in call))
    refused = script(name, "--only", "lenet")
    said = f"scripts/{name}: there is no network 'lenet' in this script: choose one of {' '.join(networks)}\n"
    assert (refused.returncode, refused.stderr) == (2, said)


def test_a_plan_ends_without_a_report_as_there_is_no_run(calls):
    assert script("table1", "dry_run=true").returncode == 0
    assert not [call for call in calls() if "snip_cli.commands.snip_report" in call]


@pytest.mark.parametrize("name", ["figure1", "figure3"])
def test_a_network_for_all_runs_is_refused(name):
    refused = script(name, "model=lenet_300_100")
    assert refused.returncode == 2
    assert "model=lenet_300_100 would apply to every run of this script" in refused.stderr
    assert ("--only" in refused.stderr) == (name == "figure1")


@pytest.mark.parametrize(
    ("setting", "option"),
    [("seeds=3", "--seeds 3"), ("schedule.iterations=5", "--iterations 5"), ("output_dir=x", "--output x")],
)
def test_a_setting_that_the_report_must_know_has_an_option(setting, option):
    refused = script("table2", setting)
    assert refused.returncode == 2
    assert refused.stderr == f"scripts/table2: write {option} instead of {setting}\n"


def test_a_picture_of_one_network_takes_no_choice():
    assert script("figure3", "--only", "lenet_300_100").returncode == 2


def is_ours(module):
    top = module.partition(".")[0]
    return top in ("snip_cli", "tests") or (SCRIPTS / f"{top}.py").exists()


def import_name(module, name):
    """What `from module import name` gives; raises ImportError if it would."""
    found = importlib.import_module(module)
    return getattr(found, name) if hasattr(found, name) else importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("name", PYTHON_SCRIPTS)
def test_all_that_a_python_script_imports_from_this_project_exists(name, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    tree, imported, missing = ast.parse((SCRIPTS / name).read_text()), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if is_ours(alias.name):
                    importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and is_ours(node.module):
            for alias in node.names:
                try:
                    imported[alias.asname or alias.name] = import_name(node.module, alias.name)
                except ImportError:
                    missing.append(f"line {node.lineno}: from {node.module} import {alias.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = imported.get(node.value.id)
            if isinstance(module, ModuleType) and not hasattr(module, node.attr):
                missing.append(f"line {node.lineno}: {node.value.id}.{node.attr}")
    assert not missing


def test_the_python_scripts_are_found():
    assert {"bench_acmi", "bench_seeds", "bench_step", "bench_train", "snacs_meaning", "rivals.py"} <= {*PYTHON_SCRIPTS}


def test_a_python_script_tells_a_failure_in_one_sentence(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "snacs_meaning", tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"scripts/snacs_meaning: {tmp_path}/config.yaml does not exist")
