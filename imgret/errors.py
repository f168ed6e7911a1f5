"""Errors a user can put right: each message says what is wrong, where, and the remedy.

One place (`imgret.cli.main`) turns them into a sentence on stderr and an exit code.
"""


class ImgretError(Exception):
    """Anything about files and data."""

    exit_code = 1


class UsageError(ImgretError):
    """Wrong before any file is looked at: an option, a method, a parameter, a key or a value out of range."""

    exit_code = 2


class Stopped(ImgretError):
    """Stopped by SIGTERM or SIGUSR1 with every finished part kept: the same command carries on."""

    exit_code = 75
