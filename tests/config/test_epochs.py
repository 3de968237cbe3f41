"""Lengths in epochs, and how the learning rate falls."""

import math

import pytest

from snip_cli.commands.snip_run import main
from snip_cli.config.composition import composer
from snip_cli.config.epochs import as_iterations
from snip_cli.config.reading import load, read, to_yaml
from snip_cli.errors import ConfigError
from snip_cli.run.messages import rates
from tests.training.trainings import schedule_of


def config_of(*overrides, folder=None):
    with composer(folder) as compose:
        return load(compose.compose([as_iterations(override) for override in overrides]))


@pytest.mark.parametrize(
    ("overrides", "iterations"),
    [
        (["dataset=mnist", "schedule.epochs=1"], 540),
        (["dataset=cifar10", "schedule.epochs=300"], round(300 * 45_000 / 128)),
        (["dataset=cifar10", "schedule.epochs=300", "+schedule.epochs=2"], round(2 * 45_000 / 128)),
        (["dataset=mnist", "schedule.epochs=0.5", "schedule.batch_size=54"], 500),
        (["dataset=digits", "schedule.epochs=2", "dataset.held_out=0.2"], round(2 * 1198 / 100)),
        (["dataset=ilsvrc2012", "schedule.epochs=90"], 445_906),
        (["dataset=digits", "schedule.epochs=0.0001"], 1),
        (["dataset=mnist", "schedule.iterations=7"], 7),
    ],
)
def test_epochs_are_passes_over_the_images_that_are_not_held_out(overrides, iterations):
    assert config_of(*overrides).schedule.iterations == iterations


def test_the_number_of_images_is_what_a_data_set_holds():
    from snip_cli.data.digits import digits

    assert config_of("dataset=digits").dataset.train_images == len(digits("").train_labels)


def test_a_run_in_epochs_is_the_run_in_as_many_iterations(tmp_path):
    one, other = (config_of("dataset=mnist", length) for length in ("schedule.epochs=3", "schedule.iterations=1620"))
    assert one == other and one.folder == other.folder
    (tmp_path / "config.yaml").write_text(to_yaml(one))
    assert read(tmp_path / "config.yaml") == one


def test_the_references_schedule_has_epochs_too():
    config = config_of(
        "method=snacs", "schedule.epochs=1", "schedule@dense_schedule=lenet", "dense_schedule.epochs=2", "dataset=mnist"
    )
    assert (config.schedule.iterations, config.dense_schedule.iterations) == (540, 1080)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["schedule.epochs=ten"], "schedule.epochs must be a number above 0: got 'ten'"),
        (["schedule.epochs=0"], "schedule.epochs must be a number above 0: got '0'"),
        (["schedule.epochs=-1"], "schedule.epochs must be a number above 0: got '-1'"),
        (["schedule.epochs=nan"], "schedule.epochs must be a number above 0: got 'nan'"),
        (["schedule.epochs=2", "schedule.batch_size=0"], "schedule.batch_size must be at least 1: got 0"),
        (["dataset=image_folder", "dataset.classes=2", "schedule.epochs=2"], r"add \+dataset.train_images=N, or write"),
    ],
)
def test_what_is_no_length_is_refused(overrides, said):
    with pytest.raises(ConfigError, match=said):
        config_of(*overrides)


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        (["schedule.epochs=2", "schedule.iterations=100"], "schedule.epochs=2 and schedule.iterations=100 both give"),
        (["++schedule.iterations=9", "+schedule.epochs=2"], "++schedule.iterations=9 and +schedule.epochs=2 both give"),
        (["-m", "schedule.iterations=9", "schedule.epochs=2,3"], "schedule.iterations=9 and schedule.epochs=2,3 both"),
        (
            ["method=lamp", "schedule@dense_schedule=quick", "dense_schedule.epochs=2", "dense_schedule.iterations=9"],
            "dense_schedule.epochs=2 and dense_schedule.iterations=9 both give",
        ),
    ],
)
def test_two_lengths_on_the_command_line_are_refused(lengths, said, capsys):
    assert main(["dataset=digits", *lengths, "dry_run=true"]) == 2
    error = capsys.readouterr().err
    assert said in error and "a length of training: leave one of them out" in error


def test_a_schedule_and_that_of_the_reference_may_have_lengths_in_different_units(capsys):
    lengths = ["schedule.epochs=2", "schedule@dense_schedule=quick", "dense_schedule.iterations=9"]
    assert main(["dataset=digits", "method=lamp", *lengths, "dry_run=true"]) == 0
    assert "9 + 27" in capsys.readouterr().out


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "schedule").mkdir()
    lines = ["name: short", "epochs: 2", "batch_size: 100", "learning_rate: 0.1", "momentum: 0.9", "weight_decay: 0.0"]
    rest = ["milestones: []", "decay: 0.1", "evaluate_every: 10", "checkpoint_every: 10"]
    (tmp_path / "schedule" / "short.yaml").write_text("\n".join([*lines, *rest]))
    (tmp_path / "schedule" / "both.yaml").write_text("\n".join([*lines, *rest, "iterations: 5"]))
    (tmp_path / "schedule" / "cut.yaml").write_text("\n".join(lines[:3]))
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "long.yaml").write_text("# @package _global_\nschedule:\n  epochs: 4\n")
    return tmp_path


def test_a_schedule_and_an_experiment_of_ones_own_may_state_epochs(mine):
    assert config_of("schedule=short", folder=mine).schedule.iterations == 1080
    assert config_of("schedule=short", "schedule.iterations=5", folder=mine).schedule.iterations == 5
    assert config_of("schedule=short", "schedule.epochs=1", folder=mine).schedule.iterations == 540
    assert config_of("experiment=long", folder=mine).schedule.iterations == 2160


def test_an_experiment_of_ones_own_may_sweep_over_epochs(mine, capsys):
    head = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      schedule.epochs: 1,2\n"
    (mine / "experiment" / "lengths.yaml").write_text(head)
    command = ["--config-dir", str(mine), "experiment=lengths", "dataset=digits", "dry_run=true"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert " 13 " in said and " 27 " in said
    (mine / "experiment" / "lengths.yaml").write_text(f"{head}      schedule.iterations: 3\n")
    assert main(command) == 2
    assert "schedule.epochs=1,2 and schedule.iterations=3 both give" in capsys.readouterr().err


def test_a_schedule_of_ones_own_is_refused_with_all_that_is_missing(mine):
    with pytest.raises(ConfigError, match=r"schedule/both\.yaml has both epochs and iterations: leave one of them out"):
        config_of("schedule=both", folder=mine)
    (mine / "schedule" / "shorter.yaml").write_text("name: shorter\nlearning_rate: 0.1\n")
    rest = "momentum, weight_decay, milestones, decay, evaluate_every, checkpoint_every: add them"
    start = ", or begin the file with `defaults: [cifar_snip, _self_]`, so that it needs only what differs."
    for name, missing in (("cut", "learning_rate, "), ("shorter", "iterations (or epochs), batch_size, ")):
        for overrides in ([f"schedule={name}"], ["method=snacs", f"schedule@dense_schedule={name}"]):
            with pytest.raises(ConfigError) as error:
                config_of(*overrides, folder=mine)
            assert str(error.value) == f"schedule/{name}.yaml lacks {missing}{rest}{start}"


def test_a_missing_setting_that_another_refers_to_is_named_in_all_commands(mine, capsys):
    (mine / "schedule" / "shorter.yaml").write_text("name: shorter\nepochs: 2\nlearning_rate: 0.1\n")
    for more in ([], ["-m"], ["--cfg", "job", "--resolve"], ["schedule.epochs=3"], ["schedule.iterations=5"]):
        assert main(["--config-dir", str(mine), "schedule=shorter", "dry_run=true", *more]) == 2
        assert "schedule/shorter.yaml lacks batch_size, momentum, " in capsys.readouterr().err


def test_a_schedule_that_starts_from_another_needs_only_what_differs(mine):
    (mine / "schedule" / "own.yaml").write_text("defaults: [cifar_snip, _self_]\nname: own\nepochs: 2\n")
    schedule = config_of("schedule=own", "dataset=mnist", folder=mine).schedule
    assert (schedule.name, schedule.iterations, schedule.batch_size, schedule.learning_rate) == ("own", 844, 128, 0.1)


def test_a_data_set_of_ones_own_is_refused_with_all_that_is_missing(tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "bare.yaml").write_text("name: bare\nclasses: 2\n")
    with pytest.raises(ConfigError, match=r"^dataset/bare\.yaml lacks root, shape, split_seed: add them\.$"):
        config_of("dataset=bare", folder=tmp_path)


def test_annealing_is_chosen_for_a_schedule_that_does_not_name_it_and_names_the_run(mine, tmp_path, capsys):
    command = ["--config-dir", str(mine), "schedule=short", f"output_dir={tmp_path / 'runs'}", "dry_run=true"]
    for more in ([], ["schedule.anneal=step"], ["schedule.anneal=cosine"], ["+schedule.anneal=linear"]):
        assert main([*command, *more]) == 0
    folders = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("folder")]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3


def test_label_smoothing_is_given_to_a_schedule_that_does_not_name_it(mine, tmp_path):
    command = ["--config-dir", str(mine), "schedule=short", f"output_dir={tmp_path / 'runs'}", "dry_run=true"]
    for more in ("schedule.label_smoothing=0.1", "+schedule.label_smoothing=0.1"):
        assert main([*command, more]) == 0
    assert main([*command, "schedule.label_smoothing=1"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["schedule.milestones=30,60"], "it is one list: write 'schedule.milestones=[30,60]'"),
        (
            ["-m", "schedule.milestones=30,60"],
            "got 30,60. Write 'schedule.milestones=[30,60]', or 'schedule.milestones",
        ),
        (["-m", "seed=0,1", "+method.classes=3,4"], "Write '+method.classes=[3,4]', or '+method.classes=[3],[4]' for"),
        (["-m", "schedule.milestones=30"], "got 30. Write 'schedule.milestones=[30]'"),
        (["-m", "schedule.milestones=[30],60"], "got 60. Write 'schedule.milestones=[60]'"),
        (["schedule=cosine"], "write schedule.anneal=cosine"),
        (["schedule.decay=linear"], "Write schedule.anneal=linear"),
        (["schedule.epochs=1,2"], "add -m to run them all"),
    ],
)
def test_what_others_call_it_is_answered_with_the_line_to_write(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_cosine_and_a_line_fall_to_zero_at_the_last_iteration():
    cosine, line = (schedule_of(iterations=100, anneal=name, learning_rate=0.2) for name in ("cosine", "linear"))
    assert cosine.rate_at(0) == line.rate_at(0) == 0.2
    assert cosine.rate_at(50) == pytest.approx(0.1) == line.rate_at(50)
    assert cosine.rate_at(25) == pytest.approx(0.1 * (1 + math.cos(math.pi / 4)))
    assert line.rate_at(75) == pytest.approx(0.05)
    for schedule in (cosine, line):
        rates_of_all = [schedule.rate_at(i) for i in range(100)]
        assert sorted(rates_of_all, reverse=True) == rates_of_all
        assert 0 < rates_of_all[-1] < 0.003
    # PyTorch's own, step by step
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    for iteration in range(100):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(cosine.rate_at(iteration), abs=1e-12)
        optimizer.step()
        theirs.step()


def test_the_warm_up_comes_before_the_fall():
    schedule = schedule_of(iterations=110, warmup=10, anneal="cosine", learning_rate=0.1)
    assert [round(schedule.rate_at(i), 12) for i in (0, 4, 9, 10)] == [0.01, 0.05, 0.1, 0.1]
    assert schedule.rate_at(60) == pytest.approx(0.05)
    assert schedule_of(iterations=5, warmup=10, anneal="cosine").rate_at(4) == pytest.approx(0.05)
    assert rates(schedule) == "0.1, falling to 0 along a cosine after a warm-up of 10"
    assert rates(schedule_of(anneal="linear")) == "0.1, falling to 0 along a line"
