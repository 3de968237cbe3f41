"""What may be pruned of one layer by its scores, and that the network stays whole."""

import itertools

import pytest
import torch

from snip_cli.pruning.after_training.snacs.constraints import highest_connected, keep_strongest, strongest_connections


def random_scores(seed, children=5, parents=4):
    return torch.rand(children, parents, generator=torch.Generator().manual_seed(seed))


def tied_scores(seed, children=5, parents=4):
    return torch.randint(3, (children, parents), generator=torch.Generator().manual_seed(seed)).float()


def kept_by_sorting(scores, fraction):
    """A child's strongest connection stays; of the others the weakest go, of equal ones the later, until enough are gone."""
    rows = scores.tolist()
    places = [(j, i) for j, row in enumerate(rows) for i in range(len(row))]
    spared = {(j, max(range(len(row)), key=lambda i, row=row: (row[i], -i))) for j, row in enumerate(rows)}
    weakest_first = sorted(
        (place for place in places if place not in spared), key=lambda p: (rows[p[0]][p[1]], -p[0], -p[1])
    )
    pruned = set(weakest_first[: round(fraction * len(places))])
    return [[(j, i) not in pruned for i in range(len(row))] for j, row in enumerate(rows)]


@pytest.mark.parametrize("make", [random_scores, tied_scores])
@pytest.mark.parametrize("seed", range(5))
def test_the_weakest_go_but_each_childs_strongest_stays(make, seed):
    scores = make(seed)
    for fraction in (0, 0.01, 0.06, 0.33, 0.5, 0.75, 0.8, 0.96):
        assert keep_strongest(scores, fraction).tolist() == kept_by_sorting(scores, fraction)


def test_no_layer_is_emptied_and_no_child_is_cut_off_however_much_is_asked_for():
    for children, parents in ((1, 1), (3, 1), (1, 7), (4, 6)):
        keep = keep_strongest(random_scores(0, children, parents), 0.999)
        assert keep.any(dim=1).all()


def test_scores_that_leave_out_a_child_altogether_still_leave_it_one():
    scores = random_scores(1)
    scores[2] = 0.0  # a dead filter
    assert keep_strongest(scores, 0.75)[2].tolist() == [True, False, False, False]


def test_the_highest_fraction_is_where_each_child_has_one_connection():
    scores = random_scores(3)
    assert int(keep_strongest(scores, highest_connected(scores)).sum()) == 5
    assert torch.equal(keep_strongest(scores, highest_connected(scores)), strongest_connections(scores))


def test_the_network_stays_connected_from_its_inputs_to_every_output():
    widths = [3, 6, 4, 8, 2]
    for seed in range(20):
        reached = torch.ones(widths[0], dtype=torch.bool)
        for layer, (parents, children) in enumerate(itertools.pairwise(widths)):
            keep = keep_strongest(random_scores(100 * seed + layer, children, parents), 0.96)
            reached = torch.stack([(row & reached).any() for row in keep])
        assert reached.all()
