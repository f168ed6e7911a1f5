"""Errors a user can put right: each message says what is wrong, where, and the remedy.

One place (`imgret.cli.main`) turns them into a sentence on stderr and an exit code.
"""

import os


def one_line(text):
    """`text` without control characters: a file's name, or what a stranger's file says, may hold newlines and terminal codes.

    Surrogates that stand for no byte of a name are no text either.
    """
    return "".join(_shown(sign, ord(sign)) for sign in text)


def _shown(sign, code):
    if code < 32 or 127 <= code < 160:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code < 0xDC80 or 0xDD00 <= code < 0xE000 else sign


def why(error, missing=""):
    """An OS error in the system's words, or in its own where it has no number.

    Parameters
    ----------
    error : OSError
    missing : str
        What to say instead where there is no such file.
    """
    if missing and isinstance(error, FileNotFoundError):
        return missing
    return os.strerror(error.errno) if error.errno else str(error)


class ImgretError(Exception):
    """Anything about files and data."""

    exit_code = 1


class UsageError(ImgretError):
    """Wrong before any file is looked at: an option, a method, a parameter, a key or a value out of range."""

    exit_code = 2


class Stopped(ImgretError):
    """Stopped by SIGTERM or SIGUSR1 with every finished part kept: the same command carries on."""

    exit_code = 75
