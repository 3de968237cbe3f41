"""The README is true: its commands compose, its Python runs, its method of one's own works."""

import re
import shlex
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

from snip_cli.commands.snip_run import main
from snip_cli.pruning.at_init.sensitivity import connection_sensitivity
from tests.snip_run import ROOT, only_run, read_metrics

README = (ROOT / "README.md").read_text()
DOCUMENTS = [README, *((ROOT / name).read_text() for name in ("configs/README.md", "results/snacs/README.md"))]
COMMANDS = [line.strip() for text in DOCUMENTS for line in text.splitlines() if line.startswith("    snip-run ")]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
[PYTHON, METHOD] = [text for language, text in BLOCKS if language == "python"]
YAML = "".join(f"{line}\n" for line in re.search(r"two lines, `(.*?)` and `(.*?)`", README).groups())


@pytest.mark.parametrize("command", [c for c in COMMANDS if not re.search(r"eval=|--config-dir|--help|\$R", c)])
def test_a_command_composes(command, tmp_path, capsys):
    if "hydra/launcher" in command and not find_spec("submitit"):
        pytest.skip("the extra is not installed: pip install 'snip-run[launch]'")
    arguments = shlex.split(command)[1:]
    assert main([*arguments, "dry_run=true", f"output_dir={tmp_path}"]) == 0
    assert "to do" in capsys.readouterr().out


def test_the_python_example_prunes_a_network_of_the_users():
    names = {}
    exec(PYTHON, names)
    kept = sum(int(keep.sum()) for keep in names["mask"].values())
    total = sum(keep.numel() for keep in names["mask"].values())
    assert kept == round(total * (1 - 0.9))
    parameters = dict(names["model"].named_parameters())
    assert all(not parameters[name][~keep].any() for name, keep in names["mask"].items())


def test_a_method_of_ones_own_takes_less_than_30_lines(tmp_path):
    assert len(METHOD.splitlines()) + len(YAML.splitlines()) < 30
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "fisher.py").write_text(METHOD)
    (tmp_path / "mine" / "method" / "fisher.yaml").write_text(YAML)
    [command] = [c for c in COMMANDS if "--config-dir" in c]
    arguments = [str(tmp_path / "mine") if word == "mine" else word for word in shlex.split(command)[1:]]
    assert main([*arguments, "schedule.iterations=2", f"output_dir={tmp_path / 'runs'}"]) == 0
    assert read_metrics(only_run(tmp_path / "runs"))["method"] == "fisher"


def test_the_method_of_ones_own_is_another_than_snip():
    """Its scores are those of the formula, and rank the weights differently."""
    names = {}
    exec(METHOD.replace('@register("fisher"', '@register("fisher in the README"'), names)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    batch = torch.randn(12, 1, 4, 4), torch.randint(4, (12,))
    scores = names["fisher"](model, [batch], F.cross_entropy, None, None)
    expected = torch.zeros(4, 8)
    for image, label in zip(*batch, strict=True):
        gradient = torch.autograd.grad(F.cross_entropy(model(image[None]), label[None]), model[3].weight)[0]
        expected += (model[3].weight.detach() * gradient).square()
    torch.testing.assert_close(scores["3.weight"], expected)
    saliencies = connection_sensitivity(model, batch, F.cross_entropy)
    ranks = [
        torch.cat([s.flatten() for s in each.values()]).argsort().argsort().double() for each in (scores, saliencies)
    ]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] < 0.9


def test_it_says_how_to_cite_both_papers():
    assert "Single-shot Network Pruning based on Connection Sensitivity" in README
    assert "Slimming Neural Networks Using Adaptive Connectivity Scores" in README


def test_it_names_every_script_that_reproduces_something():
    scripts = {path.name for pattern in ("table?", "figure?", "methods") for path in (ROOT / "scripts").glob(pattern)}
    assert set(re.findall(r"`scripts/(\w+)` \|", README)) == scripts


def test_every_file_of_the_project_that_a_document_names_exists():
    """In text, not only in links: files are moved and merged, and what was measured stays."""
    documents = [ROOT / "README.md", *(ROOT / "configs").glob("*.md"), *(ROOT / "results").rglob("*.md")]
    files = re.compile(r"\b(?:snip_cli|tests|configs|scripts)/[\w/]+(?:\.py|\.yaml|\.sh)\b")
    named = {(document.name, file) for document in documents for file in files.findall(document.read_text())}
    assert named
    assert [(document, file) for document, file in sorted(named) if not (ROOT / file).exists()] == []
