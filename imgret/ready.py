"""Codebooks that are part of the package: `ready:NAME` wherever a codebook is read."""

import os

from imgret.errors import UsageError, quoted

PREFIX = "ready:"
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "codebooks", "ready")
WORDS = PREFIX + "rootsift-vlad64"  # those that `encode` takes where none are named


def is_ready(reference):
    """Whether a path means a codebook of the package (a file of such a name is `./ready:...`)."""
    return isinstance(reference, str) and reference.startswith(PREFIX)


def names():
    """The names, in order."""
    return sorted(name.removesuffix(".h5") for name in os.listdir(FOLDER) if name.endswith(".h5"))


def path_of(reference):
    """The path that a reference means: that of the package's file, or the reference itself where it is a path.

    Raises
    ------
    UsageError
        If there is none of this name.
    """
    if not is_ready(reference):
        return reference
    name = reference.removeprefix(PREFIX)
    if name not in names():
        raise UsageError(f"there is no ready codebook '{quoted(name)}'; choose one of: {', '.join(PREFIX + each for each in names())}")
    return os.path.join(FOLDER, name + ".h5")
