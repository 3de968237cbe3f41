"""What a run says of itself."""

import pytest

from snip_cli.run.messages import rates
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
