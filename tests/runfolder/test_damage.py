"""Records of a run that are damaged: one sentence that names the file, whoever reads it, and never another error."""

import random
import shutil

import pytest

from snip_cli.commands.snip_report import main as report
from snip_cli.commands.snip_run import main
from snip_cli.errors import ConfigError
from snip_cli.report.figures.limits import read_limits
from snip_cli.runfolder import record
from tests.snip_run import QUICK, run_quick

METRICS = [
    *("{}", "[]", "", "null", '{"seeds": null}', '{"seeds": []}', '{"seeds": {}}', '{"seeds": [1]}', '{"seeds": [{}]}'),
    *('{"seeds": [{"seed": "a", "test_error": 1}]}', '{"seeds": [{"seed": 0, "test_error": null}]}'),
    *(
        '{"seeds": [{"seed": 0, "test_error": 1, "layers": 3}]}',
        '{"seeds": [{"seed": 0, "test_error": 1, "layers": [1]}]}',
    ),
    *('{"seeds": [{"seed": 0, "test_error": 1, "collapsed": 3}]}', '{"seeds": [{"seed": true, "test_error": 1}]}'),
    *('{"seeds": [{"seed": 0, "test_error": 1, "layers": [{"name": "x", "total": "5", "kept": 2}]}]}', "[" * 100_000),
]
ENVIRONMENT = ["[]", "3", '{"earlier": 3}', '{"earlier": [1]}', '{"own_files": 3}', '{"commit": 5}']
CONFIGURATION = [
    "[]",
    "- a",
    "a: [",
    "a\tb: 1\n  - x",
    "!!python/object:os.system x",
    "{}",
    "model: 3",
    "a: ${b}",
    "a: &a [*a]",
]
EVALUATIONS = ["a,b\n1,2,3\n", "seed,iteration\n0,1\n", "seed\0", "seed,iteration,learning_rate\n0,x,"]
COMPACT = ["[]", '{"seeds": 3}', '{"seeds": [{}]}', '{"seeds": [1]}', "{}"]
FINDINGS = ["[]", '{"0": 3}', '{"0": {"layers": 3}}', '{"0": {"layers": {"fc1": 3}}}']
FINDINGS += ['{"0": {"layers": {"fc1": {"scores": {"edges": 1}}}}}', '{"0": {"layers": {"fc1": {"grid": 1}}}}']
CONTENTS = {
    "metrics.json": METRICS,
    "env.json": ENVIRONMENT,
    "config.yaml": CONFIGURATION,
    "metrics.csv": EVALUATIONS,
    "compact.json": COMPACT,
    "pruning.json": FINDINGS,
}
CASES = [(name, content.encode()) for name, contents in CONTENTS.items() for content in contents]
CASES += [(name, b"\xff\xfe\x00") for name in CONTENTS]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_quick(tmp_path_factory.mktemp("runs"), "compact=true")


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "runs" / finished.name)


def read_everything(folder):
    run = record.read_run(folder)
    record.read_evaluations(folder)
    record.compacted_seeds(folder)
    record.read_findings(folder)
    record.other_commit(folder)
    run.config.identity()


@pytest.mark.parametrize("name, content", CASES, ids=[f"{name} {content[:40]!r}" for name, content in CASES])
def test_a_damaged_record_is_one_sentence(name, content, folder):
    (folder / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_everything(folder)
        read_limits(folder)
    assert str(error.value).startswith(str(folder / name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in CONTENTS if name != "pruning.json"])
def test_a_flipped_bit_or_a_cut_never_gives_another_error(name, folder):
    whole, draw = (folder / name).read_bytes(), random.Random(0)
    refused = 0
    for number in range(60):
        changed = bytearray(whole)
        changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        (folder / name).write_bytes(changed if number % 3 else whole[: draw.randrange(len(whole))])
        try:
            read_everything(folder)
        except ConfigError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    "name, content", [("metrics.json", "{}"), ("env.json", '{"own_files": 3}'), ("config.yaml", "a: [")]
)
def test_the_commands_say_so_and_change_nothing(name, content, folder, capsys):
    (folder / name).write_text(content)
    reading = [[f"eval={folder}"], [*QUICK, "compact=true", f"output_dir={folder.parent}"]]
    for command in reading:
        assert main(command) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert str(folder / name) in said
    report([str(folder.parent)])
    assert "Traceback" not in capsys.readouterr().err
    assert (folder / name).read_text() == content


def test_a_damaged_configuration_is_written_again_as_its_error_says(folder):
    (folder / "config.yaml").write_text("a: [")
    for name in ("config.yaml", "metrics.json"):
        (folder / name).unlink()
    assert main([*QUICK, f"output_dir={folder.parent}"]) == 0
    assert main([f"eval={folder}"]) == 0
