"""The rows of a seed's batches."""

import torch

from snip_cli.data.draws import BatchOrder, draws


def test_the_rows_of_many_iterations_are_those_of_the_single_draws():
    order, single = BatchOrder(23, 5, seed=3), draws(23, 5, 3)
    one_by_one = torch.stack([next(single).rows for _ in range(20)])
    for start, end in ((0, 1), (1, 12), (12, 20), (4, 9)):
        assert torch.equal(order.rows(start, end), one_by_one[start:end])
