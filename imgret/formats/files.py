"""Reading text that others wrote: bounded, and every fault with its file and line."""

import os
import stat

from imgret.errors import ImgretError, why

BLOCK = 32 << 20
PIECE = 1 << 20
BOM = b"\xef\xbb\xbf"
LONGEST_LINE = 1 << 20


def read_bytes(path, limit, *, regular=True):
    """The content of `path`, refused above `limit` bytes.

    Parameters
    ----------
    path : str or path-like
    limit : int
        Bytes.
    regular : bool
        Refuse what is not a regular file (a FIFO found in a folder would block for ever). A file that the user named may be a pipe.

    Raises
    ------
    ImgretError
    """
    pieces, size = [], 0  # piece by piece: read(limit) would set aside as much
    with _opened(path, regular) as file:
        expected = os.fstat(file.fileno()).st_size + 1
        while piece := _guarded(path, file.read, min(max(PIECE, expected), limit + 1 - size)):
            pieces.append(piece)
            size += len(piece)
    if size > limit:
        raise ImgretError(f"{path} is larger than {limit >> 20} MiB: this is no such file")
    return b"".join(pieces)


def line_blocks(path, *, regular=True):
    """Yield (number of the block's first line, bytes of whole lines) over a text file of any size, without a byte order mark.

    Raises
    ------
    ImgretError
        Also for a line longer than 1 MiB.
    """
    number, rest, started = 1, b"", False
    with _opened(path, regular) as file:
        while piece := _guarded(path, file.read, BLOCK).removeprefix(b"" if started else BOM):
            started = True
            head, newline, tail = piece.rpartition(b"\n")
            if newline:
                block = rest + head + newline
                yield number, block
                number, rest = number + block.count(b"\n"), tail
            else:
                rest += piece
            if len(rest) > LONGEST_LINE:
                raise ImgretError(f"{path}:{number}: the line is longer than 1 MiB: this is no text file of one record per line")
    if rest:
        yield number, rest


def _opened(path, regular):
    return _guarded(path, _open, path, regular)


def _open(path, regular):
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise ImgretError(f"{path} is a folder, a file is needed")
    if regular and not stat.S_ISREG(mode):
        raise ImgretError(f"{path} is not a regular file")
    return open(path, "rb")


def _guarded(path, function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        raise ImgretError(f"{path} cannot be read: {why(error)}") from None
    except ValueError:  # the operating system's way to say so differs between versions of Python
        raise ImgretError(f"{str(path)!r} cannot be read: a path holds no NUL") from None
