"""The command of a sweep → that of one of its runs."""

import pytest

from snip_cli.report.page.commands import alone

SNIP = {"method": "snip", "sparsity": 0.9, "init.name": "vs_x", "method.redraw": False, "schedule.iterations": 300}


@pytest.mark.parametrize(
    "command, own",
    [
        ("snip-run method=snip sparsity=0.9", "snip-run method=snip sparsity=0.9"),
        ("snip-run -m method=snip,random sparsity=0,0.90 seeds=3", "snip-run method=snip sparsity=0.90 seeds=3"),
        ("snip-run method=random,snip sparsity=0.9 --multirun", "snip-run method=snip sparsity=0.9"),
        ("snip-run -m init=vs_x,rn ++method.redraw=true,false", "snip-run init=vs_x ++method.redraw=false"),
        ("snip-run -m schedule.iterations=100,300 hydra/launcher=slurm", "snip-run schedule.iterations=300"),
        (
            "snip-run -m 'schedule.milestones=[10,20]' sparsity=0.9",
            "snip-run 'schedule.milestones=[10,20]' sparsity=0.9",
        ),
    ],
)
def test_a_run_takes_its_own_values(command, own):
    assert alone(command, SNIP) == own


@pytest.mark.parametrize(
    "command",
    [
        "",
        "snip-run",  # the quickstart
        "snip-run method=imp sparsity=0.95",  # this run is one of its rounds
        "snip-run -m 'method=glob(*)'",
        "snip-run -m experiment=table1_lenet_300_100 sparsity=0.9",
        "snip-run experiment=table1_lenet_300_100",
        "snip-run -m method=erk,random",  # an ancestor, which the command does not name
        "snip-run -m schedule=quick,lenet",  # a record does not name its schedule
        "snip-run -m 'sparsity=range(1,3)'",
        "snip-run -m method=snip,snip",
        "snip-run 'method=snip",
    ],
)
def test_what_the_command_does_not_tell_is_not_guessed(command):
    assert alone(command, SNIP) is None


def test_a_reference_takes_the_first_method():
    reference = {"method": "reference", "sparsity": 0.0}
    assert alone("snip-run -m method=snip,random sparsity=0,0.9", reference) == "snip-run method=snip sparsity=0"
