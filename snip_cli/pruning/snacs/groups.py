"""Groups of a layer's channels, between which connections are scored and pruned: consecutive blocks, as in the authors' code."""


def group_bounds(channels: int, groups: int) -> list[tuple[int, int]]:
    """(first channel, one past the last) of every group, in order.

    A block has ⌈channels / groups⌉ channels and the last one what is left, so that there may be fewer blocks than `groups`; 0 groups, or as
    many as channels or more, are one for each channel. The authors' code asks for groups that divide the channels, where this is the same.
    """
    assert channels > 0
    assert groups >= 0
    size = 1 if groups == 0 else -(-channels // groups)
    return [(start, min(start + size, channels)) for start in range(0, channels, size)]
