"""What is prunable: the rule, `prunable=`, and the line that says how much of a network is out of reach."""

import warnings

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import snip_cli
from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.models.prunable import choose_prunable, out_of_reach, prunable_parameters
from snip_cli.pruning.method import Stage, find_method

registry.load_builtin()
AT_INIT = [name for name in registry.methods.names() if find_method(name).stage is Stage.AT_INIT]


def vit():
    return torchvision.models.VisionTransformer(16, 8, 2, 4, 32, 64, num_classes=10)


class Language(nn.Module):
    """Embeddings, a bare matrix, and a linear layer that shares the embedding's weight."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(20, 8), nn.Parameter(torch.randn(1, 5, 8) * 0.1)
        self.mix, self.norm = nn.Parameter(torch.randn(8, 8) * 0.3), nn.LayerNorm(8)
        self.out = nn.Linear(8, 20)

    def forward(self, tokens):
        return self.out(self.norm((self.words(tokens) + self.places) @ self.mix).mean(1))


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(20, (16, 5), generator=generator), torch.randint(20, (16,), generator=generator)


@pytest.mark.parametrize("sizes", [{}, {"kdim": 6, "vdim": 10}, {"add_bias_kv": True}, {"bias": False}], ids=str)
def test_the_projections_of_an_attention_layer_are_linear_layers(sizes):
    layer = nn.MultiheadAttention(8, 2, **sizes)
    separate = ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
    weights = [*(separate if "kdim" in sizes else ["in_proj_weight"]), "out_proj.weight"]
    biases = [] if sizes.get("bias") is False else ["in_proj_bias", "out_proj.bias"]
    assert list(prunable_parameters(layer)) == weights + biases


def test_of_a_transformer_all_but_the_norms_is_pruned():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    batch = torch.randn(8, 5, 16), torch.randint(16, (8,))
    mask = snip_cli.prune(model, batch, lambda outputs, labels: F.cross_entropy(outputs.mean(1), labels), sparsity=0.5)
    assert {name for name, _ in model.named_parameters()} - mask.keys() == {
        f"norm{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias")
    }
    assert 0 < mask["self_attn.in_proj_weight"].float().mean() < 1
    snip_cli.apply_mask(model, mask)
    assert torch.equal(model.self_attn.in_proj_weight != 0, mask["self_attn.in_proj_weight"])


def test_a_method_that_compares_layers_refuses_attention_by_name():
    model = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    batch = torch.randn(8, 5, 16), torch.randint(16, (8,))
    with pytest.raises(ConfigError, match="Layer 'self_attn' is of kind MultiheadAttention"):
        snip_cli.prune(model, batch, F.cross_entropy, method="l1_filter")


def test_of_a_vision_transformer_what_is_out_of_reach_is_said_in_one_line():
    torch.manual_seed(0)
    model = vit()
    nn.init.normal_(model.heads.head.weight, std=0.1)  # torchvision makes it zero, and then no connection matters
    batch = torch.randn(4, 3, 16, 16), torch.randint(10, (4,))
    with pytest.warns(UserWarning) as warned:
        mask = snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.5)
    total = sum(p.numel() for p in model.parameters())
    within = sum(keep.numel() for keep in mask.values())
    norms = sum(p.numel() for name, p in model.named_parameters() if "ln" in name)
    assert within == total - norms - model.class_token.numel() - model.encoder.pos_embedding.numel()
    [line] = [str(each.message) for each in warned]
    assert line.startswith(
        f"{within:,} of {total:,} trainable parameters can be pruned: encoder.pos_embedding (1×5×32)"
    )


def test_nothing_is_said_of_norms_and_of_frozen_parameters():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 4))
    batch = torch.randn(4, 1, 8, 8), torch.randint(4, (4,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.5)
    language = Language()
    for name in ("words", "places", "mix"):
        getattr(language, name).requires_grad_(False)
    assert out_of_reach(language) is None


def test_the_line_names_the_largest_and_counts_the_rest():
    model = nn.ModuleList([*(nn.Embedding(9, size) for size in (2, 5, 3, 4)), nn.Linear(2, 2)])
    assert out_of_reach(model) == (
        "6 of 132 trainable parameters can be pruned: 1.weight (9×5), 3.weight (9×4), 2.weight (9×3) and 1 more "
        "belong to no convolution, linear, recurrent or attention layer"
    )


def test_other_parameters_are_chosen_by_name_or_pattern(tokens):
    torch.manual_seed(0)
    model = Language()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # who chooses needs no line about the rest
        mask = snip_cli.prune(model, tokens, F.cross_entropy, sparsity=0.5, prunable=["mix", "words.*", "out.bias"])
    assert list(mask) == ["mix", "words.weight", "out.bias"]
    assert sum(int(keep.sum()) for keep in mask.values()) == round((64 + 160 + 20) / 2)
    snip_cli.apply_mask(model, mask)
    assert not model.mix[~mask["mix"]].any()


@pytest.mark.parametrize("method", [*AT_INIT, "lamp", "l1_filter", "snacs"])
def test_every_method_leaves_alone_what_is_not_chosen(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    batch = torch.randn(32, 8), torch.arange(32) % 4
    mask = snip_cli.prune(model, batch, F.cross_entropy, method=method, sparsity=0.3, prunable=["0.*", "2.weight"])
    assert list(mask) == ["0.weight", "2.weight", "0.bias"]
    assert not all(keep.all() for keep in mask.values())


def test_a_shared_parameter_can_be_chosen_by_either_name():
    model = Language()
    model.out.weight = model.words.weight
    for name in ("words.weight", "out.weight"):
        with choose_prunable(model, [name]):
            assert list(prunable_parameters(model)) == [name]
    with choose_prunable(model, "*.weight"):
        assert list(prunable_parameters(model)) == ["words.weight", "norm.weight"]
    assert "out.bias" in prunable_parameters(model)


def test_a_name_that_no_parameter_has_is_refused_with_the_nearest(tokens):
    with pytest.raises(ConfigError, match=r"prunable names 'word\.weight'.*did you mean 'words\.weight'"):
        snip_cli.prune(Language(), tokens, F.cross_entropy, prunable=["word.weight"])


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_choice_does_not_reach_what_a_weight_is_computed_from():
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(8, 4)), nn.Linear(4, 4))
    batch = torch.randn(8, 8), torch.randint(4, (8,))
    with pytest.raises(ConfigError, match="layer '0'"):
        snip_cli.prune(model, batch, F.cross_entropy, prunable=["*"])
    assert list(snip_cli.prune(model, batch, F.cross_entropy, sparsity=0.5, prunable=["1.*"])) == ["1.weight", "1.bias"]
