"""Errors a user can put right: each message says what is wrong, where, and the remedy.

One place (`imgret.cli.main`) turns them into a sentence on stderr and an exit code.
"""


def one_line(text):
    """`text` without control characters: a file's name, or what a stranger's file says, may hold newlines and terminal codes."""
    return "".join(f"\\x{ord(sign):02x}" if ord(sign) < 32 or 127 <= ord(sign) < 160 else sign for sign in text)


class ImgretError(Exception):
    """Anything about files and data."""

    exit_code = 1


class UsageError(ImgretError):
    """Wrong before any file is looked at: an option, a method, a parameter, a key or a value out of range."""

    exit_code = 2


class Stopped(ImgretError):
    """Stopped by SIGTERM or SIGUSR1 with every finished part kept: the same command carries on."""

    exit_code = 75
