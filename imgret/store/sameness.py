"""Which photos something is about, in a few bytes: what has the same sums is about the same photos."""

import xxhash

WIDE = 1 << 128
NOTHING_KNOWN = bytes(32)  # the digest of what came without its photo


class Sameness:
    """Sums over photos: of hashes of their names, and of their names with digests.

    Sums do not depend on the order of the photos, and those of several stores are added: together they are about a ranking's photos if
    they come to its sums.

    Attributes
    ----------
    names : int
        Sum of XXH3-128 of the names, modulo 2 ** 128.
    photos : int or None
        Sum of XXH3-128 of digest and name, likewise; None where the digest of any photo is not known.
    """

    def __init__(self, names=0, photos=0):
        self.names, self.photos = names, photos

    @classmethod
    def parse(cls, text):
        """From the text that a store has; None where it has none that is one."""
        names, dash, photos = text.partition("-")
        try:
            return cls(int(names, 16), int(photos, 16) if dash else None) if len(names) == 32 else None
        except ValueError:
            return None

    @classmethod
    def of_names(cls, names):
        """Of photos of which nothing is known but what they are called."""
        found = cls(0, None)
        for name in names:
            found.add(name)
        return found

    def __str__(self):
        """As a store has it."""
        return f"{self.names:032x}" + ("" if self.photos is None else f"-{self.photos:032x}")

    def add(self, name, digest=NOTHING_KNOWN):
        """One more photo: its name, and the SHA-256 of its bytes, zeros where that is not known."""
        self.names = (self.names + xxhash.xxh3_128_intdigest(name)) % WIDE
        if digest == NOTHING_KNOWN:
            self.photos = None
        elif self.photos is not None:
            self.photos = (self.photos + xxhash.xxh3_128_intdigest(digest + name)) % WIDE

    def __add__(self, other):
        known = None not in (self.photos, other.photos)
        return Sameness((self.names + other.names) % WIDE, (self.photos + other.photos) % WIDE if known else None)

    def is_of(self, other):
        """Whether the photos are the same as those of another: by name, and where both know them by content."""
        return self.names == other.names and (None in (self.photos, other.photos) or self.photos == other.photos)
