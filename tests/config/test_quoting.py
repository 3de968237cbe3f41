"""Values with characters of Hydra's grammar: paths are taken as they are written, for the rest the quotes are shown."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from snip_cli.commands.console import path
from snip_cli.commands.snip_report import main as report
from snip_cli.commands.snip_run import main
from snip_cli.config.quoting import PATHS, as_typed, quote_path
from tests.snip_run import QUICK, run_quick

ODD = [
    *("ckpt/epoch=3.pt", "a#b", "a(b)", "it's", "[a]", "{a}", "a&b", "a!b", "~x", "a;b", "a<b", 'a"b', "a`b", "a^b"),
    *("ümläut", "日本", "a\\'b", "a'b\\", "C:\\x", "2024_01", "1e3", "true", "x=1 y"),
]
NOT_QUOTED = ["runs", "a b", "a,b", "null", "'a=b'", '"a,b"', "glob(*)", "${oc.env:HOME}", "007", ""]


def value_of(override):
    return OverridesParser.create().parse_override(override).value()


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("several", [True, False])
def test_a_path_is_taken_as_it_is_written(value, several):
    for key in PATHS:
        assert value_of(quote_path(f"{key}={value}", several=several)) == value


@pytest.mark.parametrize("value", NOT_QUOTED)
def test_a_value_that_hydra_reads_stays_as_it_is(value):
    assert quote_path(f"output_dir={value}", several=True) == f"output_dir={value}"


@pytest.mark.parametrize("override", ["output_dir", "model=a=b", "~output_dir", "--output_dir=a=b"])
def test_other_overrides_stay_as_they_are(override):
    assert quote_path(override, several=False) == override


def test_commas_separate_the_paths_of_a_sweep_only():
    assert quote_path("pretrained=a=1.pt,b.pt", several=True) == 'pretrained="a=1.pt","b.pt"'
    assert quote_path("pretrained=a=1,5.pt", several=False) == 'pretrained="a=1,5.pt"'


@pytest.mark.parametrize("value", [*ODD, "a,b", "'q'", ""])
def test_what_is_to_be_typed_gives_this_very_value(value):
    typed = as_typed(f"model={value}")
    [override] = shlex.split(typed)
    assert value_of(override) == value


def test_there_is_nothing_to_type_where_the_key_is_wrong():
    assert as_typed("é=3") is None


@pytest.mark.parametrize("value", ["a=b", "é", "a#b", "it's", "snip,random(", "[a"])
def test_the_error_shows_the_quotes_that_work(value, tmp_path, capsys):
    assert main([*QUICK, f"output_dir={tmp_path}", f"model={value}"]) == 2
    said = capsys.readouterr().err
    sentence = f"snip-run: The value in 'model={value}' has characters with a meaning of their own: "
    assert said.startswith(f"{sentence}to take it as text, write ")
    [override] = shlex.split(said.rpartition("write ")[2])
    assert main([*QUICK, f"output_dir={tmp_path}", override]) == 2
    assert capsys.readouterr().err.startswith(f"snip-run: There is no model '{value}'")


def test_runs_may_lie_in_a_folder_of_any_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("ä=1 (it's #2)", "2024_01"):
        folder = run_quick(Path(name))
        assert main([f"eval={folder}"]) == 0
        assert main([*QUICK, f"pretrained={folder / 'checkpoint.pt'}", "method.redraw=false", "output_dir=o"]) == 0
    assert main([*QUICK, "-m", "sparsity=0,0.9", "output_dir=ö&k"]) == 0
    assert len(list(Path("ö&k").glob("*/metrics.json"))) == 2
    assert report(["ö&k"]) == 0


def test_the_path_with_a_comma_is_shown_beside_the_sweep(capsys):
    assert main(["output_dir=a,b"]) == 2
    assert (
        """add -m to run them all, or write 'output_dir="a,b"' for one path with a comma.""" in capsys.readouterr().err
    )


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SNIP_DATA", "~/data")
    folder = run_quick(Path("~/runs").expanduser())
    assert main([*QUICK, "output_dir=~/runs"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([f"eval=~/runs/{folder.name}"]) == 0
    weights = f"pretrained=~/runs/{folder.name}/checkpoint.pt"
    assert main([*QUICK, weights, "method.redraw=false", "output_dir=~/runs"]) == 0
    capsys.readouterr()
    images = ["dataset=image_folder", "dataset.size=8", "dataset.classes=2", "output_dir=~/runs"]
    for setting, where in (("~/images", "images"), ("images", "data/images")):
        assert main([*images, f"dataset.folder={setting}"]) == 2
        assert f"The folder {tmp_path / where / 'train'} does not exist" in capsys.readouterr().err
    assert main([*images, "dataset.folder=images", "dataset.root=~/mine"]) == 2
    assert f"The folder {tmp_path / 'mine/images/train'} does not exist" in capsys.readouterr().err
    assert path("~/a.png") == tmp_path / "a.png"
