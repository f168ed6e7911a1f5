"""What makes a photo bad."""


class BadPhoto(Exception):  # noqa: N818 - it is a finding about a photo, recorded, not an error of the program
    """A photo that cannot be used.

    Attributes
    ----------
    code : str
        One of `unreadable`, `not-a-file`, `not-an-image`, `unsupported`, `truncated`, `too-large`, `box-outside`, `no-descriptors`,
        `not-finite`, `crashed`.
    reason : str
        One sentence.
    """

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code, self.reason = code, reason


def short(error):
    """An error of a decoder in a few words."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def undecodable(error):
    """The finding that pixels cannot be decoded, by what a decoder said."""
    return BadPhoto("truncated", f"its pixels cannot be decoded ({short(error)})")
