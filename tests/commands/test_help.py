"""`snip-run --help`: every setting with its meaning, from one place."""

import dataclasses

import pytest

from snip_cli.commands.help import comments_of, line
from snip_cli.commands.snip_run import main
from snip_cli.config.composition import CONFIGS
from snip_cli.config.meanings import MEANINGS, meaning_of
from snip_cli.config.reading import NO_SETTINGS, OPTIONAL_SECTIONS, SECTIONS
from snip_cli.config.schema import Config


def test_every_setting_of_the_schema_has_a_meaning_and_nothing_else_has():
    own = [spec.name for spec in dataclasses.fields(Config) if spec.name not in {**SECTIONS, **OPTIONAL_SECTIONS}]
    fields = {
        f"{section}.{spec.name}"
        for section, schema in SECTIONS.items()
        for spec in dataclasses.fields(schema)
        if spec.name not in NO_SETTINGS
    }
    assert set(MEANINGS) == {*own, *fields, "pretrained", "eval"}
    assert meaning_of("dense_schedule.decay") == meaning_of("schedule.decay")
    assert meaning_of("method.phi") is None


@pytest.mark.parametrize("key", MEANINGS)
def test_every_setting_is_in_the_table_of_settings(key):
    assert f"`{key.rpartition('.')[2]}`" in (CONFIGS / "README.md").read_text()


def test_help_shows_every_setting_as_it_is_typed_with_its_value_and_meaning(capsys):
    assert main(["--help", "model=lenet_5_caffe", "seeds=3"]) == 0
    said = capsys.readouterr().out
    assert "seeds=3                                     how many seeds: seed, seed + 1, …\n" in said
    assert f"schedule.anneal=step                        {MEANINGS['schedule.anneal']}\n" in said
    # An option of a model: from the comment in its file.
    assert "model.conv_relu=true                        the released code has no ReLU after its convolutions" in said
    assert "snip-run --help SECTION" in said and "@SETTINGS@" not in said
    assert max(map(len, said.splitlines())) <= 150


def test_help_on_a_section_shows_its_choices_and_what_its_file_does_not_name(capsys):
    assert main(["--help", "schedule"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("schedule=NAME: cifar_15_epochs, cifar_300, ")
    assert "schedule.learning_rate=0.1 " in said and "dataset." not in said
    assert main(["method=snacs", "--help", "method"]) == 0
    said = capsys.readouterr().out
    assert "method.phi=magnitude " in said and "+method.classes=VALUE " in said
    assert main(["--help", "dense_schedule"]) == 0
    assert capsys.readouterr().out.startswith("schedule@dense_schedule=NAME: ")


def test_a_section_that_does_not_exist_is_refused(capsys):
    assert main(["--help", "shedule"]) == 2
    assert "There is no section 'shedule'" in capsys.readouterr().err


def test_help_shows_what_a_file_of_ones_own_says(tmp_path, capsys):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("name: mine\nredraw: true\npower: 2.0  # exponent of the score\n")
    assert main(["--config-dir", str(tmp_path), "method=mine", "--help", "method"]) == 0
    assert "method.power=2.0                            exponent of the score\n" in capsys.readouterr().out


def test_a_long_setting_and_a_long_meaning_are_wrapped():
    assert line("a=1", "word " * 40)[1].startswith(" " * 44 + "word")
    assert line("a" * 60, "meaning") == ["a" * 60, " " * 44 + "meaning"]
    assert comments_of("name: x\npower: 2.0  # of # it\n") == {"power": "of # it"}
