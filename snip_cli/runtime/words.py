"""Durations and sizes in words."""


def duration(seconds: float) -> str:
    """Return a duration in two units at most, such as `40 s`, `3 min`, `2 h 5 min` or `3 days 4 h`."""
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"


def size(count: int) -> str:
    """Return bytes in the unit that fits, such as `12 kB` or `3.4 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{round(count / 1e3)} kB"
