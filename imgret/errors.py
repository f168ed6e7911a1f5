"""Errors a user can put right: each message says what is wrong, where, and the remedy.

One place (`imgret.cli.main`) turns them into a sentence on stderr and an exit code.
"""

import os

QUOTED = 120  # signs of what is quoted from a file
SENTENCE = 2000  # of a message, whatever it quotes
# what turns the direction of text around, or may end a line
_MISLEADING = {0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}


def one_line(text):
    """`text` without control characters: a file's name, or what a stranger's file says, may hold newlines and terminal codes.

    Surrogates that stand for no byte of a name are no text either.
    """
    return text if text.isprintable() else "".join(_shown(sign, ord(sign)) for sign in text)


def _shown(sign, code):
    if code < 32 or 127 <= code < 160 or 0xDC80 <= code < 0xDCA0:
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code < 0xDC80 or 0xDD00 <= code < 0xE000 or code in _MISLEADING else sign


def quoted(value, most=QUOTED):
    """What a file says (a name, an attribute, any JSON), as a message quotes it: on one line, and cut where it is long."""
    text = value if isinstance(value, str) else str(value)
    line = one_line(text[: most + 1])
    return line if len(line) <= most else line[:most] + "..."


def listed(values, most=5):
    """`quoted` values of a list, the first few."""
    shown = [quoted(value) for value in values[:most]]
    return ", ".join(shown + ["..."] * (len(values) > most))


def counted(number, one, many=""):
    """A number of things in words: "1 photo", "2 photos", "3 queries".

    Parameters
    ----------
    number : int
    one : str
    many : str, optional
        By default as a noun goes.
    """
    return f"{number} {one if number == 1 else many or (one[:-1] + 'ies' if one.endswith('y') else one + 's')}"


def bounded(text):
    """A message; of one that is too long, how it begins and ends."""
    return text if len(text) <= SENTENCE else f"{text[: SENTENCE // 2]} ... {text[-SENTENCE // 2 :]}"


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


def sentence(error):
    """An OS error that nobody has put into words: where, if it says so, and why."""
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{where}{why(error)}"


class ImgretError(Exception):
    """Anything about files and data.

    Parameters
    ----------
    text : str
        Kept to a length that can be read, whatever a file put into it.
    """

    exit_code = 1

    def __init__(self, text=""):
        super().__init__(bounded(text))


class UsageError(ImgretError):
    """Wrong before any file is looked at: an option, a method, a parameter, a key or a value out of range."""

    exit_code = 2


def changed(shown):
    """The error for an input that is another one than it was, by what it is called in messages."""
    return ImgretError(f"{shown} has changed while it was being read: run the same command again")
