"""Every line of bad input: one clear sentence with the remedy, the right exit code, no traceback, nothing lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snip_cli import registry
from snip_cli.commands.snip_run import main
from tests.runtime.test_files import files_up_to
from tests.snip_run import QUICK, only_run, train_until_checkpoint

registry.load_builtin()

CONFIGURATION = {
    "unknown choice": (
        ["method=snipp"],
        ["no method 'snipp'", "did you mean 'snip'", "magnitude, mint, obd, random, "],
    ),
    "a method of one's own, without its folder": (["method=fisher"], ["or add your own with --config-dir DIR."]),
    "unknown experiment": (["experiment=table9"], ["no experiment 'table9'", "quickstart"]),
    "misspelt key": (["sparcity=0.9"], ["no setting 'sparcity'", "did you mean 'sparsity'"]),
    "misspelt nested key": (["schedule.itertions=9"], ["did you mean 'iterations'", "schedule has: name, "]),
    "misspelt key of a method": (["method.redrow=false"], ["did you mean 'redraw'", "method has: name, "]),
    "a setting that a shipped file does not name": (
        ["method.trained=true"],
        ["method/snip.yaml does not name 'trained', which method has: write +method.trained=true."],
    ),
    "appended key": (["+sparcity=0.9"], ["no setting 'sparcity'", "did you mean 'sparsity'"]),
    "appended option": (["+method.decay=1"], ["no option 'decay'"]),
    "plus before a known key": (["+sparsity=0.9"], ["sparsity=VALUE without a plus"]),
    "weights that nothing starts from": (["pretrained=w.pt"], ["draws others after pruning", "method.redraw=false"]),
    "no value": (["sparsity"], ["write key=value"]),
    "dashes before a setting": (["--sparsity=0.9"], ["no flag '--sparsity=0.9'", "without dashes: sparsity=0.9"]),
    "a setting as a flag": (["--sparsity", "0.9"], ["no flag '--sparsity'", "without dashes: sparsity=VALUE"]),
    "several values without -m": (["sparsity=0,0.9"], ["add -m"]),
    "group removed": (["~method"], ["method must be chosen"]),
    "sparsity of one": (["sparsity=1"], ["[0, 1)"]),
    "sparsity below zero": (["sparsity=-0.5"], ["[0, 1)"]),
    "sparsity not a number": (["sparsity=nan"], ["[0, 1)"]),
    "sparsity as text": (["sparsity=much"], ["sparsity must be a number", "'much'"]),
    "sparsity in percent": (["sparsity=90%"], ["must be a number in [0, 1): got '90%'. For 90 %, write sparsity=0.9."]),
    "nothing kept": (["sparsity=0.9999999"], ["keeps none of the 266,610 parameters", "at most"]),
    "negative seed": (["seed=-1"], ["seed must be 0 or more"]),
    "no seeds": (["seeds=0"], ["seeds", "at least 1"]),
    "negative seeds": (["seeds=-2"], ["seeds", "at least 1"]),
    "empty batch": (["schedule.batch_size=0"], ["schedule.batch_size must be at least 1"]),
    "empty saliency batch": (["method.batch_size=0"], ["method.batch_size must be at least 1"]),
    "saliency batch larger than the data": (
        ["method.batch_size=5000"],
        ["5,000", "1,347 training images", "lower one"],
    ),
    "option of the wrong type": (["method.ema_decay=often"], ["method.ema_decay must be a number: got"]),
    "option out of range": (["method.accumulate=max", "method.batches=2"], ["sum or ema"]),
    "milestones that fall": (["schedule.milestones=[5,3]"], ["schedule.milestones must be positive and increasing"]),
    "unknown device": (["device=tpu"], ["auto, cpu, cuda", "'tpu'"]),
    "unknown dtype": (["dtype=float16"], ["float32, float64, bfloat16"]),
    "kept weights from two initialisers": (["method.redraw=false", "init=rn"], ["init and init_train must agree"]),
    "replicates neither stacked nor apart": (["replicates=both"], ["auto, stacked, apart", "'both'"]),
    "replicates that cannot be stacked": (
        ["replicates=stacked", "dtype=bfloat16"],
        ["replicates=stacked is for networks without batch-norm", "use replicates=auto"],
    ),
    "a list of seeds": (["seeds=0,1,2"], ["seeds is how many: write seeds=3"]),
    "no choice of a group": (["model=null"], ["no model 'null'", "choose one of alexnet_b"]),
    "a number for a choice": (["method=1"], ["no method '1'", f"choose one of {registry.methods.names()[0]}"]),
    "a number for an experiment": (["experiment=3"], ["no experiment '3'", "quickstart"]),
    "a number for a launcher": (["hydra/launcher=1"], ["no hydra/launcher '1'", "basic"]),
    "no key": (["=3"], ["'=3' is not a setting: write key=value."]),
    "missing folder of one's own": (["--config-dir", "nowhere"], ["must be a folder: got nowhere"]),
}


@pytest.mark.parametrize("case", CONFIGURATION)
def test_bad_configuration_is_one_sentence_and_exit_code_2(case, tmp_path, capsys):
    arguments, phrases = CONFIGURATION[case]
    code = main([*QUICK, f"output_dir={tmp_path / 'runs'}", *arguments])
    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith("snip-run: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err + said.out
    assert "append" not in said.err
    for phrase in phrases:
        assert phrase in said.err
    assert not list(tmp_path.rglob("metrics.json"))


def test_a_bad_job_stops_a_sweep_before_any_work(tmp_path, capsys):
    code = main([*QUICK, "-m", f"output_dir={tmp_path / 'runs'}", "sparsity=0.5,1.5"])
    assert code == 2
    assert "[0, 1)" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_that_is_not_there(tmp_path, capsys):
    assert main([*QUICK, f"output_dir={tmp_path}", "device=cuda"]) == 2
    assert "Use device=cpu or device=auto" in capsys.readouterr().err


def test_data_that_is_not_there_and_cannot_be_downloaded(tmp_path, capsys, monkeypatch):
    from torchvision.datasets import MNIST

    def no_network(self):
        raise OSError("no route to host")

    monkeypatch.setattr(MNIST, "download", no_network)
    code = main(
        ["dataset=mnist", "schedule.iterations=2", f"output_dir={tmp_path}", f"dataset.root={tmp_path / 'empty'}"]
    )
    said = capsys.readouterr().err
    assert code == 2
    assert str(tmp_path / "empty" / "MNIST" / "raw") in said
    assert "no route to host" in said
    assert "dataset.root or $SNIP_DATA" in said


def test_a_truncated_data_file_is_named(tmp_path, capsys):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    for name in names:
        (raw / name).write_bytes(b"\0\0\x08\x01")
    code = main(
        ["dataset=mnist", "schedule.iterations=2", f"output_dir={tmp_path / 'runs'}", f"dataset.root={tmp_path}"]
    )
    said = capsys.readouterr().err
    assert code == 2
    assert str(raw / names[0]) in said
    assert "truncated or altered" in said


def test_an_output_dir_that_is_a_file(tmp_path, capsys):
    (tmp_path / "runs").write_text("in the way")
    assert main([*QUICK, f"output_dir={tmp_path / 'runs'}"]) == 2
    assert "not writable" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_dir_without_permission(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main([*QUICK, f"output_dir={tmp_path / 'runs'}"]) == 2
    assert "not writable" in capsys.readouterr().err


def test_a_loss_that_is_not_finite(tmp_path, capsys):
    settings = ["schedule.learning_rate=1e12", "schedule.evaluate_every=5", "schedule.checkpoint_every=5"]
    assert main([*QUICK, f"output_dir={tmp_path}", "schedule.iterations=20", *settings]) == 1
    said = capsys.readouterr().err
    assert "not finite at iteration" in said
    assert "learning rate 1e+12" in said
    assert "lower schedule.learning_rate" in said
    assert not list(tmp_path.rglob("metrics.json"))


def test_the_last_good_checkpoint_outlives_a_loss_that_is_not_finite(tmp_path, capsys):
    """The weights grow until they overflow; the checkpoint is from before that and holds finite weights only."""
    settings = [
        "schedule.learning_rate=40",
        "schedule.weight_decay=0.1",
        "schedule.milestones=[]",
        "schedule.momentum=0.99",
    ]
    code = main([*QUICK, f"output_dir={tmp_path}", "schedule.iterations=400", "schedule.checkpoint_every=1", *settings])
    assert code == 1
    assert "not finite" in capsys.readouterr().err
    content = torch.load(only_run(tmp_path) / "checkpoint.pt", weights_only=True)
    state = content["training"][0]["state"]
    assert all(torch.isfinite(weight).all() for weight in state["model"].values())
    assert state["progress"]["iteration"] >= 1


def test_a_method_that_does_not_fit_a_model(tmp_path, capsys):
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "half.yaml").write_text("name: half\n")
    (tmp_path / "mine" / "half.py").write_text(
        "from snip_cli.registry import methods\n\n\n"
        "@methods.register('half')\n"
        "def half(model, batches, loss, generator):\n"
        "    return {name: p for name, p in model.named_parameters() if name == 'fc1.weight'}\n"
    )
    code = main([*QUICK, "--config-dir", str(tmp_path / "mine"), "method=half", f"output_dir={tmp_path / 'runs'}"])
    assert code == 2
    assert "method 'half' does not fit" in capsys.readouterr().err


def test_a_python_file_of_the_users_that_does_not_import(tmp_path, capsys):
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    assert main([*QUICK, "--config-dir", str(tmp_path), f"output_dir={tmp_path / 'runs'}"]) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "broken.py") in said
    assert "no_such_module" in said


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", None], ids=["empty", "garbage", "foreign"])
def test_a_checkpoint_that_is_corrupt_or_foreign_is_refused(content, tmp_path, capsys):
    command = [*QUICK, f"output_dir={tmp_path}"]
    folder = train_until_checkpoint(command, tmp_path)
    file = folder / "checkpoint.pt"
    if content is None:
        torch.save({"some": torch.ones(3)}, file)
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert "start over" in said
    assert file.read_bytes() == before


@pytest.mark.parametrize("file", ["checkpoint.pt", "mask.pt"])
def test_a_flipped_bit_in_a_finished_run_is_reported_by_whoever_reads_it(file, tmp_path, capsys):
    command = [*QUICK, f"output_dir={tmp_path}"]
    assert main(command) == 0
    folder = only_run(tmp_path)
    path = folder / file
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    for arguments in ([f"eval={folder}"], [*command, "seeds=2"]):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert f"{path} is damaged: its content does not match its checksum; restore it, or delete the folder" in said
        assert said.count("\n") == 1
    assert path.read_bytes() == changed


def test_a_damaged_record_is_refused(tmp_path, capsys):
    command = [*QUICK, f"output_dir={tmp_path}"]
    assert main(command) == 0
    (only_run(tmp_path) / "metrics.json").write_text('{"method": ')
    assert main(command) == 2
    assert "metrics.json is damaged" in capsys.readouterr().err


def test_the_same_run_twice_at_once_is_refused_and_the_lock_dies_with_its_owner(tmp_path, capsys):
    command = [*QUICK, f"output_dir={tmp_path}", "schedule.iterations=100000", "schedule.checkpoint_every=5"]
    first = subprocess.Popen(
        [sys.executable, "-m", "snip_cli", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(tmp_path, first)
        assert main(command) == 2
        assert "Another process is doing the run" in capsys.readouterr().err
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert main([*command, "schedule.iterations=100000", "schedule.learning_rate=-1"]) == 2  # refused before it trains
    from filelock import FileLock

    with FileLock(only_run(tmp_path) / ".lock", timeout=0):
        pass


def wait_for(folder: Path, process: subprocess.Popen) -> None:
    """Until the run in `folder` has written a checkpoint."""
    from tests.snip_run import wait_until

    wait_until(lambda: list(folder.rglob("checkpoint.pt")) or process.poll() is not None)


def test_a_failed_job_does_not_stop_the_sweep(tmp_path, capsys):
    code = main([*QUICK, "-m", f"output_dir={tmp_path}", "schedule.learning_rate=1e30,0.1", "sparsity=0.9"])
    said = capsys.readouterr()
    assert code == 1
    assert len(list(tmp_path.rglob("metrics.json"))) == 1
    assert "failed: " in said.out
    assert "not finite" in said.out
    assert said.out.index("error (%)") < said.out.rindex("failed: ")


def every_step_is(step, monkeypatch):
    """Replace the step of whatever trains: one network, several together, or kept weights alone."""
    from snip_cli.training.sparse.trainer import SparseTrainer
    from snip_cli.training.stacked.trainer import StackedTrainer
    from snip_cli.training.trainer import Trainer

    for training in (Trainer, StackedTrainer):
        monkeypatch.setattr(training, "step", step)
    monkeypatch.setattr(SparseTrainer, "advance", step)


def test_running_out_of_memory_says_what_to_lower(tmp_path, capsys, monkeypatch):
    def exhausted(self, images, labels):
        raise torch.OutOfMemoryError("CUDA out of memory")

    every_step_is(exhausted, monkeypatch)
    assert main([*QUICK, f"output_dir={tmp_path}"]) == 1
    assert "lower schedule.batch_size" in capsys.readouterr().err


def test_an_unexpected_failure_is_one_line_and_its_traceback_is_in_the_log(tmp_path, capsys, monkeypatch):
    def broken(self, images, labels):
        raise ZeroDivisionError("surprise")

    every_step_is(broken, monkeypatch)
    assert main([*QUICK, f"output_dir={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "ZeroDivisionError: surprise" in said
    assert "Traceback" in (only_run(tmp_path) / "run.log").read_text()


@pytest.mark.parametrize(
    "settings, phrase", [(["init.std=0.0"], "init.std must be positive"), (["init.std=-1.0"], "positive")]
)
def test_an_initialiser_out_of_range(settings, phrase, tmp_path, capsys):
    assert main([*QUICK, "init=rn", *settings, f"output_dir={tmp_path}"]) == 2
    assert phrase in capsys.readouterr().err


def test_a_batch_larger_than_the_data(tmp_path, capsys):
    assert main([*QUICK, "schedule.batch_size=5000000", f"output_dir={tmp_path}"]) == 2
    assert "larger than the number of training images, 1,347" in capsys.readouterr().err


def test_scores_that_are_all_zero_choose_nothing(tmp_path, capsys, monkeypatch):
    from snip_cli.models import initialisers

    monkeypatch.setattr(initialisers, "scale_variance", lambda weight, generator, variance: weight.zero_())
    assert main([*QUICK, f"output_dir={tmp_path}"]) == 1
    assert "Every saliency is zero" in capsys.readouterr().err


def test_the_cpu_running_out_of_memory_is_told_too(tmp_path, capsys, monkeypatch):
    def exhausted(self, images, labels):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
        )

    every_step_is(exhausted, monkeypatch)
    assert main([*QUICK, f"output_dir={tmp_path}"]) == 1
    assert "Out of memory: lower schedule.batch_size" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--config-name=other", "--experimental-rerun=x"])
def test_a_flag_that_would_be_ignored_is_refused(flag, capsys):
    assert main([flag]) == 2
    assert "is not supported" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b"name: [\n",
        b"- a\n- b\n",
        b"3",
        b"\xff\xfe\x00",
        b"name: \x00",
        b"? [a]\n: b\n",
        b"defaults: 3\nname: x\n",
        b"&a [*a]\n",
    ],
)
def test_a_yaml_file_of_the_users_that_is_none(content, tmp_path, capsys):
    file = tmp_path / "method" / "broken.yaml"
    file.parent.mkdir()
    file.write_bytes(content)
    mine = ["--config-dir", str(tmp_path), "method=broken"]
    for command in ([*QUICK, *mine, f"output_dir={tmp_path / 'runs'}"], [*mine, "--help"]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert str(file) in said


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "exit()", "raise SystemExit", "1 / 0", "def f(:", "\0"])
def test_a_python_file_of_the_users_that_ends_the_program(code, tmp_path, capsys):
    (tmp_path / "broken.py").write_text(code)
    assert main([*QUICK, "--config-dir", str(tmp_path), f"output_dir={tmp_path / 'runs'}"]) == 2
    assert f"{tmp_path / 'broken.py'} cannot be imported: " in capsys.readouterr().err


QUITTING = """
import sys
from snip_cli.registry import methods


@methods.register("quitting")
def quitting(model, batches, loss, generator):
    sys.exit(4)
"""


def test_a_method_that_ends_the_program_fails_alone(tmp_path, capsys):
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "quitting.yaml").write_text("name: quitting\n")
    (tmp_path / "mine" / "quitting.py").write_text(QUITTING)
    command = [*QUICK, "--config-dir", str(tmp_path / "mine"), f"output_dir={tmp_path / 'runs'}"]
    sentence = (
        f"{tmp_path / 'mine' / 'quitting.py'}, line 8, ended the program (sys.exit(4)): raise an error there instead."
    )
    assert main([*command, "method=quitting"]) == 1
    assert capsys.readouterr().err == f"snip-run: {sentence}\n"
    assert main([*command, "-m", "method=quitting,random"]) == 1
    assert f"failed: {sentence}" in capsys.readouterr().out
    assert len(list((tmp_path / "runs").rglob("metrics.json"))) == 1


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("size, file", [(0, "config.yaml"), (2_000, r"\S+"), (600_000, "checkpoint.pt")])
def test_a_full_disk_is_one_sentence_and_leaves_no_temporary_file(size, file, tmp_path, capsys):
    with files_up_to(size):
        assert main([*QUICK, f"output_dir={tmp_path}"]) == 1
    said = capsys.readouterr()
    assert re.fullmatch(rf"snip-run: {tmp_path}/\S+/{file} cannot be written \(File too large\): [^\n]+\n", said.err)
    assert "Traceback" not in said.out
    assert not list(tmp_path.rglob(".*.tmp"))
    assert main([*QUICK, f"output_dir={tmp_path}"]) == 0


def test_a_run_folder_that_is_deleted_meanwhile(tmp_path, capsys, monkeypatch):
    from snip_cli.runfolder import checkpoint

    save = checkpoint.save

    def delete_first(folder, saved):
        shutil.rmtree(folder)
        save(folder, saved)

    monkeypatch.setattr(checkpoint, "save", delete_first)
    assert main([*QUICK, f"output_dir={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"snip-run: The folder \S+ was deleted while it was written to: start [^\n]+\n", said)
    assert list(tmp_path.iterdir()) == []
