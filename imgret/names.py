"""Photo names: bytes as the file system has them, and their spellings in text, TSV, TREC and other people's lists."""

import re
import unicodedata
import urllib.parse

from imgret.errors import ImgretError, quoted

_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_TSV = {ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"}
_EXTENSION = re.compile(rb"\.[A-Za-z][A-Za-z0-9]{0,4}\Z")


def to_text(name):
    """`name` as str; a byte that is not UTF-8 becomes a lone surrogate (PEP 383), so that `to_bytes` gives it back."""
    return name.decode("utf-8", "surrogateescape")


def to_bytes(text):
    """The bytes that `to_text` made a str of."""
    return text.encode("utf-8", "surrogateescape")


def shown(name):
    """`name` as a message shows it: quoted, on one line, undecodable and control bytes as \\xNN, cut where it is very long."""
    return f"'{quoted(name.decode('utf-8', 'backslashreplace'))}'"


def tsv_escape(name):
    r"""`name` as one TSV field: tab, newline, carriage return and backslash become \t, \n, \r and \\.

    Parameters
    ----------
    name : bytes

    Returns
    -------
    str
        Undecodable bytes are lone surrogates: written with `errors="surrogateescape"` they come out as they were.
    """
    return to_text(name).translate(_TSV)


def trec_escape(name):
    """`name` as one TREC field: whitespace, control and non-ASCII bytes and `%` are percent-encoded; returns ASCII str."""
    return urllib.parse.quote_from_bytes(name, safe=_PLAIN)


def trec_unescape(field):
    """The name of a TREC field (bytes): each %XX is the byte it stands for; a `%` that no two hex digits follow stays."""
    return urllib.parse.unquote_to_bytes(field) if b"%" in field else field


def bare(name):
    """`name` without an extension and without the prefix `oxc1_` of its last part: the form in which lists by others name photos."""
    name = _EXTENSION.sub(b"", name) if b"." in name else name
    folder, slash, last = name.rpartition(b"/")
    return folder + slash + last.removeprefix(b"oxc1_")


def last_part(name):
    """`name` without folders."""
    return name.rpartition(b"/")[2]


def short(name):
    """`name` without folders, extension and the prefix `oxc1_`: as the authors' ground truths of many sets write it."""
    return bare(last_part(name))


def composed(name):
    """`name` in Unicode's form NFC: the same for all names that are the same text. Bytes that are not UTF-8 stay as they are."""
    return name if name.isascii() else to_bytes(unicodedata.normalize("NFC", to_text(name)))


class Speller:
    """Spells names as `known` ones that are the same text in another Unicode form, folder by folder, with or without extension.

    "é" is one character or two: macOS writes names so, other systems otherwise, and copying changes some of them.

    Parameters
    ----------
    known : iterable of bytes
    """

    def __init__(self, known):
        parts = {part for name in known if not name.isascii() for part in name.split(b"/") if not part.isascii()}
        self._parts = parts | {bare(part) for part in parts}
        self._as = {}
        for part in sorted(self._parts):
            self._as.setdefault(composed(part), part)

    def __call__(self, name):
        """`name` as a known one is spelt; `name` itself where there is none."""
        return name if name.isascii() or not self._parts else b"/".join(map(self._part, name.split(b"/")))

    def _part(self, part):
        stem = bare(part)
        if part in self._parts or stem in self._parts:
            return part
        whole = self._as.get(composed(part))
        return part.replace(stem, self._as.get(composed(stem), stem), 1) if whole is None else whole


class Resolver:
    """Finds among `known` names the one that another spelling means: with or without extension and `oxc1_`.

    Parameters
    ----------
    known : iterable of bytes
    """

    def __init__(self, known):
        self._exact = set(known)
        self._loose = {}
        for name in self._exact:
            self._loose.setdefault(bare(name), []).append(name)

    def __call__(self, name):
        """The known name that `name` means; `name` itself where there is none.

        An exact match comes first. Two extensions that differ do not match: a.jpg is not a.png, but either is a.

        Raises
        ------
        ImgretError
            If several known names fit.
        """
        if name in self._exact:
            return name
        extension = _extension(name)
        fits = [known for known in self._loose.get(bare(name), ()) if not extension or _extension(known) in (b"", extension)]
        if len(fits) > 1:
            several = ", ".join(shown(known) for known in sorted(fits)[:2])
            raise ImgretError(f"the name {shown(name)} fits several photos ({several}): write it with its extension")
        return fits[0] if fits else name


def _extension(name):
    match = _EXTENSION.search(name)
    return match[0] if match else b""
