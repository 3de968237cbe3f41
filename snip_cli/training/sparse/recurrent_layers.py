"""Which networks are recurrent nets that the kernels know."""

from torch import nn

from snip_cli.models.recurrent import PARAMETERS, RowByRow

# All parameters, in the order in which the weights of a network are numbered.
IH, HH, BIAS_IH, BIAS_HH = (f"recurrent.{name}" for name in PARAMETERS)
NAMES = ("projection.weight", IH, HH, BIAS_IH, BIAS_HH, "classifier.weight", "classifier.bias")


def recurrent_kind(model: nn.Module) -> str | None:
    """Return "lstm" or "gru" for a network that reads images row by row with one such layer; None for another."""
    if type(model) is not RowByRow or {name for name, _ in model.named_parameters()} != {*NAMES}:
        return None
    layer = model.recurrent
    plain = layer.num_layers == 1 and not layer.bidirectional and layer.proj_size == 0
    return {nn.LSTM: "lstm", nn.GRU: "gru"}.get(type(layer)) if plain else None
