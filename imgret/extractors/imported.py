"""What stands for whatever described photos elsewhere: it says what is known of that, and can describe no photo."""

import dataclasses

from imgret.errors import ImgretError, quoted
from imgret.extractors.base import Extractor


class ImportedVectors(Extractor):
    """Vectors that came from elsewhere.

    Parameters
    ----------
    params : ImportedVectors.Params
    """

    name = "imported"
    gives = "vectors"
    reduces = False

    @dataclasses.dataclass(frozen=True)
    class Params:
        """What is known: dimensions, and what they are, in a word of the user's own. All of it is the space they are in."""

        dim: int
        space: str

        @classmethod
        def from_json(cls, data):
            """As a store recorded them."""
            if set(data) != {"dim", "space"}:
                raise ImgretError(
                    f"the file says of what was imported what this imgret does not know ({quoted(sorted(data))}): upgrade imgret"
                )
            return cls(**data)

        def to_json(self):
            """Plain values."""
            return dataclasses.asdict(self)

        def places(self):
            """None: it needs no file."""
            return {}

    @property
    def dim(self):
        """Length of a vector, or of a descriptor."""
        return self.params.dim


class ImportedFeatures(ImportedVectors):
    """Local features that came from elsewhere."""

    name = "imported-features"
    gives = "features"
