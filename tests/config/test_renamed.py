"""Settings under their earlier names are accepted wherever a user writes them, with one line that names the new spelling."""

import pytest
from omegaconf import OmegaConf

from snip_cli.commands.snip_run import main
from snip_cli.config import reading
from snip_cli.config.renamed import notices, rename_override, rename_settings
from tests.config.test_schema import config_of
from tests.snip_run import QUICK, only_run, run_quick

ABLATION = "snip-run: 'method.sanity' is now called 'method.ablation'; the old spelling still works.\n"
STACKED = "snip-run: 'replicates=together' is now called 'replicates=stacked'; the old spelling still works.\n"


@pytest.fixture(autouse=True)
def no_earlier_notices():
    notices()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("method.sanity=invert", "method.ablation=invert"),
        ("+method.sanity=invert", "+method.ablation=invert"),
        ("++method.sanity=none,invert", "++method.ablation=none,invert"),
        ("~method.sanity", "~method.ablation"),
        ("replicates=together", "replicates=stacked"),
        ("++replicates='together'", "++replicates=stacked"),
        ("replicates=apart,together", "replicates=apart,stacked"),
    ],
)
def test_an_old_spelling_is_renamed_with_one_notice(old, new):
    assert rename_override(old) == rename_override(old) == new
    assert len(notices()) == 1
    assert notices() == []


@pytest.mark.parametrize(
    "override", ["method.sanity_check=1", "sanity=1", "output_dir=together", "-m", "~method", "a=b=c"]
)
def test_other_overrides_stay_as_they_are(override):
    assert rename_override(override) == override
    assert notices() == []


def test_where_both_spellings_are_given_the_new_one_counts():
    assert rename_settings({"method": {"ablation": "invert", "sanity": "none"}}) == {"method": {"ablation": "invert"}}


def test_a_run_folder_of_an_earlier_version_is_read_without_a_notice(tmp_path):
    old = config_of({"method.ablation": "invert", "replicates": "stacked"})
    text = reading.to_yaml(old).replace("ablation:", "sanity:").replace("stacked", "together")
    (tmp_path / "config.yaml").write_text(text)
    assert reading.read(tmp_path / "config.yaml") == old
    assert notices() == []


def test_a_run_and_its_sweep_accept_old_spellings(tmp_path, capsys):
    folder = run_quick(tmp_path / "new", "method.ablation=invert")
    capsys.readouterr()
    arguments = [*QUICK, "-m", "method.sanity=invert,invert", "replicates=together", f"output_dir={tmp_path / 'old'}"]
    assert main(arguments) == 0
    assert capsys.readouterr().err == ABLATION + STACKED
    assert only_run(tmp_path / "old").name == folder.name
    written = OmegaConf.load(tmp_path / "old" / folder.name / "config.yaml")
    assert (written.method.ablation, written.replicates) == ("invert", "stacked")
    assert "sanity" not in written.method


EXPERIMENT = """
# @package _global_
method:
  sanity: invert
replicates: together
"""
SWEEP = (
    EXPERIMENT
    + """
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      method.sanity: shuffle_layers,invert
"""
)


@pytest.mark.parametrize(
    ("path", "text", "arguments", "expected"),
    [
        ("experiment/mine.yaml", EXPERIMENT, ["experiment=mine"], ["invert"]),
        ("experiment/mine.yaml", EXPERIMENT, ["experiment=mine", "method.sanity=none"], ["none"]),
        ("experiment/mine.yaml", EXPERIMENT, ["experiment=mine", "method.ablation=none"], ["none"]),
        ("experiment/mine.yaml", SWEEP, ["experiment=mine"], ["invert", "shuffle_layers"]),
        ("method/random.yaml", "name: random\nsanity: invert\n", ["method=random"], ["invert"]),
        ("method/random.yaml", "name: random\nsanity: none\n", ["method=random", "method.sanity=invert"], ["invert"]),
        ("method/random.yaml", "name: random\nsanity: invert\n", ["method=random", "method.ablation=none"], ["none"]),
    ],
)
def test_a_users_own_yaml_may_use_old_spellings(path, text, arguments, expected, tmp_path, capsys):
    file = tmp_path / "mine" / path
    file.parent.mkdir(parents=True)
    file.write_text(text.lstrip())
    runs = tmp_path / "runs"
    assert main(["--config-dir", str(tmp_path / "mine"), *QUICK, *arguments, f"output_dir={runs}"]) == 0
    said = capsys.readouterr().err
    assert said.count(ABLATION) == 1
    assert said.count(STACKED) == (1 if "experiment" in path else 0)
    made = [reading.read(path).method.ablation for path in runs.glob("*/config.yaml")]
    assert sorted(made) == expected
