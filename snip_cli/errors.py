"""The two kinds of error that a user sees, each as one sentence with a remedy."""


class SnipError(Exception):
    """An error that is printed as one sentence, without a traceback."""

    exit_code = 1


class ConfigError(SnipError, ValueError):
    """The request cannot be fulfilled because of the configuration, data, a checkpoint, a folder, the device, or a run
    that is in progress.
    """

    exit_code = 2


class RunError(SnipError, RuntimeError):
    """The work failed: a loss that is not finite, too little memory, a failed job."""

    exit_code = 1
