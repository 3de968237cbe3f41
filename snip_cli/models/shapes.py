"""Checks of the image shape that several architectures share."""

from snip_cli.errors import ConfigError

# From this side on (Tiny-ImageNet), SNIP's networks double the stride of the first convolution.
LARGE = 64


def check_size(model: str, shape: tuple[int, int, int], least: int) -> None:
    """Raise ConfigError if an image of `shape` (channels, height, width) has a side shorter than `least` pixels."""
    _, height, width = shape
    if min(height, width) < least:
        raise ConfigError(
            f"{model} needs images of at least {least}×{least}: got {height}×{width}. Choose another model for this data set."
        )


def check_channels(model: str, shape: tuple[int, int, int], channels: int) -> None:
    """Raise ConfigError unless an image of `shape` (channels, height, width) has `channels` channels."""
    if shape[0] != channels:
        raise ConfigError(
            f"{model} needs images of {channels} channel{'s' * (channels > 1)}: got {shape[0]}. Choose another model for this data set."
        )


def is_large(shape: tuple[int, int, int]) -> bool:
    """Return whether both sides of an image of `shape` (channels, height, width) are at least 64."""
    return min(shape[1:]) >= LARGE
