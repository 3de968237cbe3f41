"""What a run says of itself."""

import pytest
import torch

from snip_cli.run.messages import rates
from tests.snip_run import run_quick
from tests.training.trainings import schedule_of


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iterations": 300, "milestones": [100, 200, 300], "decay": 0.1}, "0.1, × 0.1 at 100, 200"),
        ({"iterations": 300, "milestones": [25_000]}, "0.1 throughout"),
        ({"iterations": 300, "milestones": [], "warmup": 5}, "0.1 throughout but for the warm-up"),
    ],
)
def test_the_learning_rate_is_told_with_its_falls_within_the_training(changes, said):
    assert rates(schedule_of(learning_rate=0.1, **changes)) == said


@pytest.mark.parametrize(
    ("dtype", "capabilities", "warned"),
    [
        ("bfloat16", {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, True),
        ("bfloat16", {"neon": True}, True),
        ("bfloat16", {"avx512_bf16": True}, False),
        ("bfloat16", {"avx512_bf16": False, "amx_bf16": True}, False),
        ("bfloat16", {"neon": True, "bf16": True}, False),
        ("float32", {}, False),
    ],
)
def test_one_line_says_where_float32_is_faster(dtype, capabilities, warned, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    run_quick(tmp_path, f"dtype={dtype}", "schedule.iterations=0")
    lines = [line for line in caplog.messages if "bfloat16 is slower" in line]
    assert lines == ["dtype=bfloat16 is slower than float32 here: this processor has no instructions for it"] * warned
