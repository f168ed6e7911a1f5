"""How alike a query and the regions of photos are, by vectors of both."""

import dataclasses

import numpy as np

from imgret.errors import ImgretError
from imgret.networks.regions import PARTS, corners
from imgret.parallel import blocks, one_thread
from imgret.registry import SAMPLING, Params, param
from imgret.rerankers.base import Listed, Reranker, Taken, reordered
from imgret.rerankers.max_regions import taken

TOGETHER = 1 << 26  # bytes of photos' vectors that are multiplied at once
OFF = 0.01  # of a side: how far the middle of a region may be from where it should be


class RegionSimilarity(Reranker):
    """Re-ranking by the similarities of a query to the regions of photos.

    A photo has nine vectors: of all of it, its halves and its quarters. The similarity s_r of the query's own vector to each is pooled to
    one (regions=whole), the highest or Σ s_r exp(s_r / temperature) / Σ exp(s_r / temperature); with regions=each that is done of each of
    the query's nine vectors, and of each of the photo's to the query's, and the mean of all is taken. Photos are ranked by (1 - weight)
    times the similarity of whole to whole and weight times that, which is kept as `evidence`; the map is that of the query's region to
    the photo's where they are most alike, without a turn.

    Takes vectors of `-m cnn` with regional=true, of any pool that makes one vector of a map. The ranking may be by other vectors: whitened
    ones, say.

    References
    ----------
    Y. Ge, H. Wang, F. Zhu, R. Zhao & H. Li, "Self-supervising fine-grained region similarities for large-scale image localization", ECCV
    2020, section 3.3 (the similarities of an image to regions; there they teach, and rankings are by whole photos). A. S. Razavian, J.
    Sullivan, S. Carlsson & A. Maki, "Visual instance retrieval with deep convolutional networks", ITE Transactions on Media Technology and
    Applications 2016 (of each region of the query its best, averaged; here both ways, so that a query may show more than the photo).
    """

    name = "region-similarity"
    takes = (Taken(("features",), "to have vectors of regions"),)
    counts = "similarity"

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        depth: int = param(100, "photos of each list that are looked at, the first", role=SAMPLING, minimum=1)
        regions: str = param(
            "each", "what of the query asks: whole, its own vector alone, or each region of either photo", choices=("whole", "each")
        )
        pool: str = param("max", "similarities to the regions of a photo: the highest (max), or softmax", choices=("max", "softmax"))
        temperature: float = param(0.07, "of softmax", minimum=1e-3, maximum=1e3)
        weight: float = param(1.0, "of regions; the rest is that of whole photos", minimum=0.0, maximum=1.0)

    def rerank(self, queries, known):
        """See `Reranker.rerank`."""
        return [self._reranked(query, known) if len(query.list) else query.list for query in queries]

    def _reranked(self, query, known):
        given, looked = query.list, min(len(query.list), self.params.depth)
        evidence = np.full(len(given), np.nan, np.float32)
        maps = np.full((len(given), 3, 3), np.nan, np.float32)
        asking = Parts(query.features, "the query", query.box if np.isfinite(query.box).all() else None)
        if not asking.there:
            return Listed(given.ids, given.scores, evidence, maps)
        scores = np.full(looked, -1.0, np.float32)
        vectors = asking.vectors if self.params.regions == "each" else asking.vectors[:1]
        for block in blocks(looked, max(1, TOGETHER // vectors[0].nbytes // len(PARTS))):
            photos = [Parts(known.features(photo), "a photo") for photo in given.ids[block].tolist()]
            rows = block.start + np.flatnonzero([photo.there for photo in photos])
            photos = [asking.like(photo) for photo in photos if photo.there]
            if photos:
                found = similarities(vectors, photos)
                evidence[rows] = self.pooled(found)
                scores[rows] = (1 - self.params.weight) * found[:, 0, 0] + self.params.weight * evidence[rows]
                maps[rows] = [asking.onto(photo, each) for photo, each in zip(photos, found, strict=True)]
        return reordered(given, scores, 2, evidence, maps, known.best)

    def pooled(self, found):
        """One similarity of those of the query's regions to a photo's, (n, Q, R): (n,)."""
        forth = self._best(found).mean(axis=1)
        return forth if self.params.regions == "whole" else (forth + self._best(found.transpose(0, 2, 1)).mean(axis=1)) / 2

    def _best(self, found):
        """Along the last axis."""
        if self.params.pool == "max":
            return found.max(axis=2)
        shares = np.exp((found - found.max(axis=2, keepdims=True)) / np.float32(self.params.temperature))
        return (shares * found).sum(axis=2) / shares.sum(axis=2)


class Parts:
    """The regions of a photo.

    Parameters
    ----------
    features : imgret.features.LocalFeatures
        Vectors of unit norm, or zero, in the order of `imgret.networks.regions.PARTS`; none where the photo could not be described.
    whose : str
        For messages.
    box : ndarray, shape (4,), optional
        What of the photo they have to be regions of, where it is not all.

    Attributes
    ----------
    there : bool
        Whether it could be described.
    vectors : ndarray, shape (R, D), float32
    corners : ndarray, shape (R, 4), float64
        x1, y1, x2, y2 in pixels.

    Raises
    ------
    ImgretError
        If the features are something else.
    """

    def __init__(self, features, whose, box=None):
        self.there, self.vectors = len(features) > 0, features.descriptors
        if not self.there:
            return
        middles = features.keypoints[:, :2].astype(np.float64)
        sides = 4 * (middles[-1] - middles[0]) if len(middles) == len(PARTS) else np.full(2, np.nan)
        found, off = np.concatenate([middles[0] - sides / 2, middles[0] + sides / 2]), OFF * np.maximum(sides, 1)
        parts = corners(found)
        right = len(middles) == len(PARTS) and (sides >= 0).all() and np.isfinite(features.stored).all()
        if right and box is not None:
            right = (np.abs(found - box) <= np.tile(off, 2)).all()
        if not (right and (np.abs(middles - (parts[:, :2] + parts[:, 2:]) / 2) <= off).all()):
            raise ImgretError(
                f"region-similarity takes the nine vectors that -m cnn --set regional=true gives of a photo, and {whose} has others: "
                "extract such; for a query that asks with a box, with --boxes, as --queries"
            )
        self.corners = corners(np.concatenate([found[:2], np.maximum(found[2:], found[:2] + 1)]))  # of one pixel at least

    def like(self, photo):
        """The regions of another photo, refused where their vectors are not as long as these."""
        if photo.vectors.shape != self.vectors.shape:
            raise ImgretError(
                f"region-similarity: vectors of the query have {self.vectors.shape[1]} columns and those of a photo "
                f"{photo.vectors.shape[1]}: give stores that were extracted with the same network and pool"
            )
        return photo

    def onto(self, photo, found):
        """The map of the region of these to that of another photo's where they are most alike: (3, 3)."""
        own, other = np.unravel_index(found.argmax(), found.shape)
        return taken(self.corners[own], photo.corners[other])


def similarities(vectors, photos):
    """Of some vectors (Q, D) to the regions of n photos: (n, Q, R), float32."""
    with one_thread():
        found = np.concatenate([photo.vectors for photo in photos]) @ vectors.T
    return found.reshape(len(photos), -1, len(vectors)).transpose(0, 2, 1)
