"""Reading text that others wrote: bounded, in any Unicode encoding that a byte order mark names, and every fault with its file and line.

Names are bytes: what is not UTF-8 stays as it is.
"""

import codecs
import contextlib
import dataclasses
import errno
import hashlib
import io
import itertools
import os
import stat

from imgret.errors import ImgretError, why

BLOCK = 32 << 20
PIECE = 1 << 20
LONGEST_LINE = 1 << 20
NAMES_LIMIT = 1 << 30  # bytes of a list of names: room for ten million photos
# a byte order mark, and what it says; that of UTF-32 begins as that of UTF-16 does
MARKS = (
    (codecs.BOM_UTF8, None),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclasses.dataclass(frozen=True)
class Stream:
    """What is open already: standard input, say, or the bytes of a file that could not be read twice.

    Attributes
    ----------
    file : binary file
    shown : str or path-like
        What messages call it.
    """

    file: object
    shown: object

    def __str__(self):
        return str(self.shown)


class TooLarge(ImgretError):
    """More bytes than such a file can have."""


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
    return b"".join(_pieces(path, limit, regular))


def read_text(path, limit, *, regular=True, refusal=None):
    """The same of a text file: UTF-8, without a byte order mark, its line ends as they are.

    Parameters
    ----------
    path : str or path-like, or Stream
    limit, regular : see `read_bytes`
    refusal : callable, optional
        Makes the `ImgretError` of an `OSError`, where the file cannot be read.

    Raises
    ------
    ImgretError
    """
    return b"".join(_decoded(path, _pieces(path, limit, regular, refusal)))


@dataclasses.dataclass(frozen=True)
class Text:
    """A text file that is recorded as an input, read once: it may be a pipe.

    Attributes
    ----------
    path : str or path-like
    data : bytes
        See `read_text`.
    """

    path: object
    data: bytes

    @classmethod
    def read(cls, path, limit, refusal=None):
        """The text of a file; see `read_text`."""
        return cls(path, read_text(path, limit, regular=False, refusal=refusal))

    def as_input(self, kind):
        """How it is recorded: by what it says, whether a byte order mark is before that or not."""
        return {"path": self.path, "kind": kind, "content": hashlib.sha256(self.data).hexdigest()}

    def stream(self):
        """What readers take in the file's place."""
        return Stream(io.BytesIO(self.data), self.path)


def lines(path, limit=NAMES_LIMIT, *, nul=False, regular=True, refusal=None):
    """Yield (number, line) over a text file, without the line ends; see `line_blocks`.

    Parameters
    ----------
    path : str or path-like, or Stream
    nul : bool
        Lines end with NUL, and hold whatever else there is.
    limit, regular, refusal : see `read_text`

    Raises
    ------
    ImgretError
    """
    end = b"\0" if nul else b"\n"
    for first, block in _blocks(path, end, _pieces(path, limit, regular, refusal, PIECE)):
        yield from enumerate(block.removesuffix(end).split(end), first)


def line_blocks(path, *, regular=True):
    r"""Yield (number of the block's first line, bytes of whole lines) over a text file of any size, without a byte order mark.

    Lines end with \n, as they are given, with \r\n, or with \r alone where the file has no \n (a name may hold one).

    Raises
    ------
    ImgretError
        Also for a line longer than 1 MiB.
    """
    yield from _blocks(path, b"\n", _pieces(path, None, regular, None, BLOCK))


def _blocks(path, end, pieces):
    number, rest = 1, b""
    pieces = _decoded(path, pieces)
    for piece in pieces if end == b"\0" else _with_newlines(pieces):
        head, newline, tail = piece.rpartition(end)
        if newline:
            block = rest + head + newline
            yield number, block
            number, rest = number + block.count(end), tail
        else:
            rest += piece
        if len(rest) > LONGEST_LINE:
            raise ImgretError(f"{path}:{number}: the line is longer than 1 MiB: this is no text file of one record per line")
    if rest:
        yield number, rest


def _pieces(path, limit, regular, refusal=None, block=0):
    """Yield the content, `block` bytes at a time; without it, what is expected at once: read(limit) would set aside as much."""
    size = 0
    with _opened(path, regular, refusal) as file:
        if not block:
            block = PIECE if isinstance(path, Stream) else max(PIECE, os.fstat(file.fileno()).st_size + 1)
        while piece := _guarded(path, refusal, file.read, block if limit is None else min(block, limit + 1 - size)):
            size += len(piece)
            if limit is not None and size > limit:
                raise TooLarge(f"{path} is larger than {limit >> 20} MiB: this is no such file")
            yield piece


def _decoded(path, pieces):
    """Yield text as UTF-8, without its byte order mark."""
    head = next(pieces, b"")
    mark, codec = next(((mark, codec) for mark, codec in MARKS if head.startswith(mark)), (b"", None))
    if codec is not None and len(head) == len(mark):  # a mark of nothing
        mark, codec = b"", None
    pieces = itertools.chain([head[len(mark) :]], pieces)
    if codec is None:
        yield from pieces
        return
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for piece in pieces:
            yield decoder.decode(piece).encode()
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        wrong = f"its byte order mark says {codec.upper()}, and it is none ({error.reason})"
        raise ImgretError(f"{path} cannot be read: {wrong}; save it as UTF-8") from None


def _with_newlines(pieces):
    """Yield text whose lines end with LF alone; see `line_blocks`."""
    held, alone = b"", None
    for piece in pieces:
        piece, held = held + piece, b""
        if piece.endswith(b"\r"):  # what follows tells what it is
            piece, held = piece[:-1], b"\r"
        if alone is None and (b"\r" in piece or b"\n" in piece):
            alone = b"\n" not in piece
        yield piece.replace(b"\r", b"\n") if alone else piece.replace(b"\r\n", b"\n")
    if held:
        yield b"\n"


def _opened(path, regular, refusal):
    return contextlib.nullcontext(path.file) if isinstance(path, Stream) else _guarded(path, refusal, _open, path, regular)


def _open(path, regular):
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if regular and not stat.S_ISREG(mode):
        raise ImgretError(f"{path} is not a regular file")
    return open(path, "rb")


def _guarded(path, refusal, function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        if refusal is not None:
            raise refusal(error) from None
        if isinstance(error, IsADirectoryError):
            raise ImgretError(f"{path} is a folder, a file is needed") from None
        raise ImgretError(f"{path} cannot be read: {why(error)}") from None
    except ValueError:  # the operating system's way to say so differs between versions of Python
        raise ImgretError(f"{str(path)!r} cannot be read: a path holds no NUL") from None
