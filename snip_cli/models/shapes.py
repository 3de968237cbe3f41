"""Which images fit a model: checks that several architectures share."""

from snip_cli.errors import ConfigError

# From this side on (Tiny-ImageNet) the first convolution of the networks of SNIP takes twice its stride.
LARGE = 64


def check_size(model: str, shape: tuple[int, int, int], least: int) -> None:
    """Raise ConfigError where an image of `shape` (channels, height, width) has a side of less than `least`."""
    _, height, width = shape
    if min(height, width) < least:
        raise ConfigError(
            f"{model} needs images of at least {least}×{least}, not {height}×{width}: choose another model for this data set."
        )


def check_channels(model: str, shape: tuple[int, int, int], channels: int) -> None:
    """Raise ConfigError where an image of `shape` (channels, height, width) has not `channels` channels."""
    if shape[0] != channels:
        raise ConfigError(
            f"{model} needs images of {channels} channel{'s' * (channels > 1)}, not {shape[0]}: choose another model for this data set."
        )


def is_large(shape: tuple[int, int, int]) -> bool:
    """Whether both sides of an image of `shape` (channels, height, width) are at least 64."""
    return min(shape[1:]) >= LARGE
