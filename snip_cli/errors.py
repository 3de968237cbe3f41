"""The two kinds of failure a user meets, each one sentence with its remedy."""


class SnipError(Exception):
    """A failure that is told in one sentence, without a traceback."""

    exit_code = 1


class ConfigError(SnipError, ValueError):
    """What was asked cannot be done: configuration, data, checkpoint, folder, device, a run already going."""

    exit_code = 2


class RunError(SnipError, RuntimeError):
    """The work itself failed: loss not finite, out of memory, a failed job."""

    exit_code = 1
