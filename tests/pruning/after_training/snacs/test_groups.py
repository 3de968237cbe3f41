import pytest

from snip_cli.pruning.after_training.snacs.groups import group_bounds


@pytest.mark.parametrize(
    ("channels", "groups", "bounds"),
    [
        (4, 2, [(0, 2), (2, 4)]),
        (5, 2, [(0, 3), (3, 5)]),
        (3, 0, [(0, 1), (1, 2), (2, 3)]),
        (3, 3, [(0, 1), (1, 2), (2, 3)]),
        (3, 64, [(0, 1), (1, 2), (2, 3)]),
        (10, 4, [(0, 3), (3, 6), (6, 9), (9, 10)]),
        (9, 4, [(0, 3), (3, 6), (6, 9)]),  # three blocks of ⌈9 / 4⌉ are all
        (7, 1, [(0, 7)]),
        (1, 1, [(0, 1)]),
    ],
)
def test_groups_are_consecutive_blocks_of_one_size_and_a_last_that_may_be_smaller(channels, groups, bounds):
    assert group_bounds(channels, groups) == bounds


def test_every_channel_is_in_one_group():
    for channels in range(1, 40):
        for groups in range(45):
            blocks = [range(*bound) for bound in group_bounds(channels, groups)]
            assert [channel for block in blocks for channel in block] == list(range(channels))
            assert len(blocks) <= (groups or channels)
