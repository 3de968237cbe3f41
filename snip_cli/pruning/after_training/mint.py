"""MINT, the predecessor of SNACS (Ganesh et al., 2020, arXiv 2003.08472): connections by a tree-based estimate of dependence."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from snip_cli.data.splits import Batch
from snip_cli.errors import ConfigError
from snip_cli.pruning.after_training.snacs.choice import prune_connections
from snip_cli.pruning.after_training.snacs.connections import check_groups, connections
from snip_cli.pruning.after_training.snacs.connectivity import require_enough, sample_activations
from snip_cli.pruning.after_training.snacs.pairs import find_pairs
from snip_cli.pruning.after_training.snacs.tree import layer_dependence
from snip_cli.pruning.method import Biases, Gives, Loss, Pruned, Request, Sparsity, Stage, Start, register
from snip_cli.pruning.options import option
from snip_cli.runfolder.steps import Steps


def mint(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: Loss,
    generator: torch.Generator,
    sparsity: Sparsity,
    steps: Steps,
    *,
    groups: int = 64,
    pairs: str = "all",
    upper_limit: float = 0.9,
) -> Pruned:
    """The mask that removes the connections with the lowest conditional dependence, no more of any layer than `upper_limit`.

    As SNACS (see there), with the tree estimator, without weights in the score, without protected filters, and with one limit set by hand:
    the authors' runs set 0.75 to 0.90 for VGG16's layers, 0.50 for ResNet56 and 0.55 for ResNet50. Unlike their code it keeps parent and
    child samples paired.

    Raises:
        ConfigError: an option is out of range, or the network or its activations do not fit.
    """
    example = next(iter(batches))[0][:1]
    check(model, example, groups=groups, pairs=pairs, upper_limit=upper_limit)
    found = {pair.child: connections(model, pair, groups) for pair in find_pairs(model, example, which=pairs)}
    activations = steps.do(
        "activations", lambda: sample_activations(model, batches, [each.pair for each in found.values()])
    )
    require_enough(model, example, activations[""])
    first_seed = generator.initial_seed()

    def score(child: str) -> Tensor:
        each = found[child]
        return layer_dependence(
            activations[child],
            activations[each.pair.parent][:, : each.parent_bounds[-1][1]],
            child_bounds=each.child_bounds,
            parent_bounds=each.parent_bounds,
            generator=torch.Generator().manual_seed(first_seed + list(found).index(child)),
        )

    scores = steps.each("scores", list(found), score)
    limits = {child: {"limit": upper_limit} for child in found}
    protected = {child: torch.zeros(len(each.child_bounds), dtype=torch.bool) for child, each in found.items()}
    return prune_connections(model, found, scores, limits, protected, sparsity)


def check(
    model: nn.Module, example_1CHW: Tensor, *, groups: int = 0, pairs: str = "all", upper_limit: float = 0.0
) -> None:
    """Raise ConfigError for what can be known before any network is trained, as that of `snip_cli.pruning.after_training.snacs.method`."""
    check_groups(groups)
    if not 0.0 <= upper_limit < 1.0:
        raise ConfigError(f"method.upper_limit must lie in [0, 1), not {upper_limit}.")
    find_pairs(model, example_1CHW, which=pairs)


@dataclass(frozen=True)
class MintOptions:
    """Options of MINT."""

    groups: int = option(64, "groups of a layer's channels; 0 for one a channel", at_least=0)
    pairs: str = option("all", "pairs of consecutive layers", choices=("all", "published"))
    upper_limit: float = option(0.9, "part of any layer's connections that may go", at_least=0.0, below=1.0)


def check_options(model: nn.Module, example_1CHW: Tensor, options: MintOptions) -> None:
    """Run `check` with an options dataclass."""
    check(model, example_1CHW, **asdict(options))


@register(
    "mint",
    stage=Stage.AFTER_TRAINING,
    starts_from=Start.TRAINED,
    gives=Gives.MASK,
    options=MintOptions,
    check=check_options,
    finds_sparsity=True,
    biases=Biases.KEPT,
    redraw=False,
)
def mint_method(
    model: nn.Module, batches: Iterable[Batch], loss: Loss, request: Request, options: MintOptions
) -> Pruned:
    """Run `mint` with an options dataclass."""
    return mint(model, batches, loss, request.generator, request.sparsity, request.steps, **asdict(options))
