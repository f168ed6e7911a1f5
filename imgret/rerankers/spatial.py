"""Spatial verification: one map that takes the query's features to those of a photo, and how many agree with it."""

import dataclasses

import numpy as np

from imgret.registry import param
from imgret.rerankers import agreeing, homography
from imgret.rerankers.matching import Matching, MatchParams
from imgret.rerankers.tentative import numbered, relative

TRIES, REFITS = 5, 4
LONGER_SIDE = 640  # of the photo that `pixels` are of


class Spatial(Matching):
    """Spatial verification, by hypotheses of one match each.

    The scales, angles and places of two features that match make a similarity; all of them are tried, so nothing is left to chance. The
    best are fitted anew to the matches that agree, as affine maps. What is counted are the places, in either photo, of the matches that
    agree: many at one place count once.

    A match agrees that is taken to within `pixels` of its place, in both photos, and whose features differ in scale as the map has it, to
    a factor `scale`. A map that mirrors, or makes one axis four times as long as the other, is none.

    References
    ----------
    J. Philbin, O. Chum, M. Isard, J. Sivic & A. Zisserman, "Object retrieval with large vocabularies and fast spatial matching", CVPR 2007,
    section 5.
    O. Chum, J. Matas & J. Kittler, "Locally optimized RANSAC", DAGM 2003: fitted anew.
    """

    name = "spatial"
    counts = "inliers"
    decides = True
    worth = (8.0, 12.0)

    @dataclasses.dataclass(frozen=True)
    class Params(MatchParams):
        pixels: float = param(15.0, f"how far off a match may be, in pixels of a photo whose longer side has {LONGER_SIDE}", above=0.0)
        scale: float = param(3.0, "factor to which the scales of features that match may differ otherwise than the map has it", minimum=1.0)
        model: str = param("affine", "the map that is fitted to matches that agree", choices=("similarity", "affine", "homography"))
        upright: bool = param(False, "photos are upright: no hypothesis turns them")
        enough: int = param(6, "inliers with which a photo goes first", minimum=1)

    def judged(self, query, photo, pairs):
        """See `Matching.judged`."""
        return self.fitted(query, photo, pairs)

    def matches(self, query, photo, known):
        """See `Reranker.matches`: those that agree with the map."""
        ours, theirs = self.prepared(query, known), self.prepared(photo, known)
        pairs = self.pairs(ours, theirs)
        if not len(pairs):
            return None
        *_, inside = self.fitted(ours.places, theirs.places, pairs)
        one, other = pairs[inside].T
        return np.concatenate([ours.places.xy[one], theirs.places.xy[other]], axis=1)

    def fitted(self, query, photo, pairs):
        """The map that most matches agree with: at how many places, (3, 3) float64, and which matches do, (M,), bool; M >= 1."""
        one, other = pairs.T
        a, b = (np.ascontiguousarray(places.xy[rows].T) for places, rows in ((query, one), (photo, other)))
        size, factor = relative(query, photo, pairs, self.params.upright)
        numbers = np.stack([query.numbers[one], numbered(photo.xy[other])])
        limits = tuple(self.params.pixels / LONGER_SIDE * places.side for places in (photo, query))
        most, affine = float(np.log2(self.params.scale)), self.params.model != "similarity"
        matrix, inside = np.zeros((2, 3)), np.zeros(len(pairs), bool)
        count = agreeing.best(a, b, size, factor, numbers, limits, most, TRIES, REFITS, affine, matrix, inside)
        matrix = np.vstack([matrix, [0, 0, 1]])
        if self.params.model == "homography" and count >= homography.FEWEST:
            larger = np.sqrt(np.linalg.det(matrix))
            alike = np.abs(size - np.log2(larger)) <= most
            limit = min(limits[0], larger * limits[1])
            for wider, found in homography.refined(matrix, a, b, inside, alike, limit, REFITS):
                reached = min(len(np.unique(row[found])) for row in numbers)
                if reached >= count:
                    count, matrix, inside = reached, wider, found
        return count, matrix, inside
