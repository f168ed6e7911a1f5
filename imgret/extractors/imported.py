"""What stands for whatever described photos elsewhere: it says what is known of that, and can describe no photo."""

import dataclasses

from imgret import registry
from imgret.extractors.base import Extractor
from imgret.registry import param


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
    class Params(registry.Params):
        """What is known of them: all of it is the space that they are in."""

        dim: int = param(0, "dimensions")
        space: str = param("", "what they are, in a word of the user's own")

    @property
    def dim(self):
        """Length of a vector, or of a descriptor."""
        return self.params.dim


class ImportedFeatures(ImportedVectors):
    """Local features that came from elsewhere."""

    name = "imported-features"
    gives = "features"
