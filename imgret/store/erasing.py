"""Removing what was made in a folder of parts: by the names that imgret gives, so that what anybody else has put there stays."""

import contextlib
import os
import re
import stat

FOLDERS = re.compile(r"\d{4,9}|[0-9a-f]{16}|training|tmp-.+-[0-9a-f]{8}\.h5")
FILES = re.compile(
    r"(?:plan|checkpoint|finished|looking|\d{6,}(?:\.retry)?|(?:tmp|own)-.+-[0-9a-f]{8})\.h5|\d{4,9}\.entries"
    # of a training
    r"|lock|checkpoint\.safetensors|looked-[0-9a-f]+\.jsonl|maps-[0-9a-f-]+\.(?:data|index)|[a-z]+\.vectors"
)


def remove(path):
    """Remove a file, or of a folder what imgret has made in it, if it is there."""
    try:
        folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return
    if folder:
        _erase(path)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def foreign(folder):
    """Whether something in a folder, at any depth, is none of imgret's."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _own(entry) or (entry.is_dir(follow_symlinks=False) and foreign(entry.path)):
                return True
    return False


def _erase(folder):
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            own = [entry.path for entry in entries if _own(entry)]
        for path in own:
            remove(path)
        os.rmdir(folder)


def _own(entry):
    return bool((FOLDERS if entry.is_dir(follow_symlinks=False) else FILES).fullmatch(entry.name))
