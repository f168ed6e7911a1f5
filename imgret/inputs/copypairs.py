"""Pairs of photos that are copies of one another: proposed by vectors, verified by local features where they are known."""

import contextlib
import dataclasses
import itertools

import numpy as np

from imgret.arrays import unit_rows
from imgret.describer import Describers
from imgret.duplicates import geometry
from imgret.duplicates.candidates import FEWEST, MOST, Chance, nearest, pairs
from imgret.errors import ImgretError
from imgret.inputs.copies import STRONGEST, LocalPhotos
from imgret.inputs.gallery import Gallery
from imgret.inputs.queries import describing
from imgret.parallel import ordered_map
from imgret.pipeline import Pipeline

BY_CHANCE, BEYOND = 0.01, 1.5  # pairs that chance may let through among all photos, where nothing verifies them; and so far beyond that:
# photos of one thing stand out as well
STEP = 8  # nearest photos that are verified at once; then as many more of those that had a copy among them
MANY = 20_000  # photos: of more, only what stands out is verified
PROPOSED = 2  # pairs per photo that chance may let through there
QUICK = 300  # local features that are compared first
SURE, NEAR = 0.1, 2  # pairs of which all features are compared: per photo by chance, and ranks
ASKED = 1024  # photos asked of an index at once
VIEW, SIMILAR = "burst", "similar"


@dataclasses.dataclass(frozen=True)
class Matches:
    """Pairs of photos that are copies.

    Attributes
    ----------
    first, second : ndarray, shape (P,), int64
    score : ndarray, shape (P,), float32
    maps : list of (2, 3) ndarray or None
        From places of the first to places of the second; None where they are not known.
    kinds : list of str or None
        "burst" or "similar"; None where the map says it.
    """

    first: np.ndarray
    second: np.ndarray
    score: np.ndarray
    maps: list
    kinds: list

    @classmethod
    def of_rows(cls, rows):
        """Of (first, second, score, map, kind) each."""
        columns = list(zip(*rows, strict=True)) or [()] * 5
        ends = (np.array(column, np.int64) for column in columns[:2])
        return cls(*ends, np.array(columns[2], np.float32), list(columns[3]), list(columns[4]))

    def of(self, pair, copy):
        """Score, map from places of the copy to places of the one that is kept, and kind of a pair."""
        matrix = self.maps[pair]
        if matrix is not None and self.first[pair] != copy:
            matrix = geometry.inverse(matrix)
        return float(self.score[pair]), matrix, self.kinds[pair]


def matches(photos, there, first, min_score, burst, by, run):
    """Find them.

    Parameters
    ----------
    photos : imgret.inputs.copies.CopyPhotos
    there : imgret.inputs.copies.Where
    first : ndarray, shape (N,)
        For each photo the first one with the same bytes: the others are left out.
    min_score, burst, by, run : see `imgret.stages.duplicates.duplicates`

    Returns
    -------
    Matches
    """
    if by == "index" and there.index is None:
        raise ImgretError(f"--by index needs an index, which {there.given} is not: give one, or a build's folder")
    with contextlib.ExitStack() as stack:
        local = stack.enter_context(LocalPhotos(there.features, photos)) if there.features else None
        verifies = local is not None and local.verifies
        if burst and not verifies:
            raise ImgretError(f"--burst needs features that are found again, such as SIFT: {_missing(there, local)}")
        chance = Chance.learned(photos.vectors, len(photos), run.jobs) if len(photos) >= FEWEST else None
        if min_score is None and chance is None and not verifies:
            run.report.warn(
                f"{len(photos)} photos are too few to tell by their vectors which are copies ({FEWEST} at least): only exact copies are "
                "told; give --min-score, or --features"
            )
            return Matches.of_rows([])
        search = _Search(photos, there.index, first, by, run)
        found = [(search.among(), False)]
        mirror = verifies and _mirror(photos, local, run)
        if mirror:
            found.append((search.among(mirror), True))
        _tell(there, local, verifies, mirror, run.report)
        if not verifies:
            return _unverified(*found[0][0], chance, min_score)
        return _Verified(local, chance, min_score, burst, run).of(found)


def _missing(there, local):
    return "give --features" if local is None else f"{there.features} holds others"


def _tell(there, local, verifies, mirror, report):
    """Say what cannot be found."""
    if not verifies:
        report.note(
            f"without local features to verify them ({_missing(there, local)}) only what stands out far is told, and neither what was done "
            "to a copy nor mirror images"
        )
    elif not mirror:
        report.note("mirror images cannot be found: these vectors are not made of local features whose mirror image is known")
    if local is not None and (gone := int((local.rows < 0).sum())):
        report.warn(f"{gone} photos are not in {local.store.shown}, or have changed since: they are left out of what is verified")


def _unverified(scores, rows, chance, min_score):
    first, second, score = pairs(scores, rows)
    kept = score >= min_score if min_score is not None else chance.standing(first, second, score) >= BEYOND * chance.reached(BY_CHANCE)
    some = zip(first[kept].tolist(), second[kept].tolist(), score[kept].tolist(), strict=True)
    return Matches.of_rows([(*row, None, SIMILAR) for row in some])


def _mirror(photos, local, run):
    """A function that gives the vectors of the photos' mirror images; None where they cannot be had without the photos."""
    if len(photos.stores) != 1 or not local.mirrors:
        return None
    describers = Describers(Pipeline.load(photos.stores[0]))
    if describers.first.position_of(Pipeline.load(local.store).node) != 0 or len(describers.first.nodes) < 2:
        return None
    width = photos.stores[0].shape("vectors")[1]

    def described(describer, features):
        return np.zeros(width, np.float32) if features is None or not len(features) else describer.features(features)

    def vectors(start, stop):
        with describing(run.jobs):
            return unit_rows(np.stack(list(describers.map(described, local.mirrored(start, stop), run.jobs))).astype(np.float32))

    return vectors


class _Search:
    """The nearest photos of each."""

    def __init__(self, photos, index, first, by, run):
        self._photos, self._run = photos, run
        self._skipped = first != np.arange(len(first))
        self._index = index if by == "index" else None

    def among(self, asking=None):
        """Scores and rows (N, k); see `imgret.duplicates.candidates.nearest`."""
        photos, run = self._photos, self._run
        k = min(MOST, max(1, len(photos) - 1))
        with run.report.progress(len(photos), "photo" if asking is None else "mirror image") as progress:
            if self._index is None:
                return nearest(
                    photos.vectors,
                    len(photos),
                    k=k,
                    asking=asking,
                    skipped=self._skipped,
                    jobs=run.jobs,
                    progress=progress.update,
                )
            return self._by_index(asking or photos.vectors, k, progress.update)

    def _by_index(self, asking, k, progress):
        """The same, of those that the index proposes, scored by their vectors."""
        photos = self._photos
        scores, rows = np.full((len(photos), k), -np.inf, np.float32), np.full((len(photos), k), -1, np.int64)
        with contextlib.closing(Gallery(self._index)) as gallery:
            if not (len(gallery.names) == len(photos) and gallery.names == photos.names):
                raise ImgretError(f"{gallery.store.shown} holds other photos than its vectors: index them again")
            for start in range(0, len(photos), ASKED):
                stop = min(start + ASKED, len(photos))
                vectors = asking(start, stop)
                _, ids = gallery.search(vectors, k + 1, self._run.jobs)
                ids[ids == np.arange(start, stop)[:, None]] = -1
                ids[(ids >= 0) & self._skipped[np.maximum(ids, 0)]] = -1
                ids[self._skipped[start:stop]] = -1
                exact = self._scored(vectors, ids)
                order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
                scores[start:stop], rows[start:stop] = np.take_along_axis(exact, order, 1), np.take_along_axis(ids, order, 1)
                progress(stop - start)
        rows[np.isneginf(scores)] = -1
        return scores, rows

    def _scored(self, vectors, ids):
        """Cosines of some photos (n, V) and those proposed (n, k): each proposed one is read once."""
        wanted = np.unique(ids[ids >= 0])
        found = self._photos.some_vectors(wanted)
        scores = np.full(ids.shape, -np.inf, np.float32)
        photo, rank = np.nonzero(ids >= 0)
        place = np.searchsorted(wanted, ids[photo, rank])
        for begin in range(0, len(photo), ASKED):
            some = slice(begin, begin + ASKED)
            scores[photo[some], rank[some]] = np.einsum("ij,ij->i", vectors[photo[some]], found[place[some]])
        return scores


class _Verified:
    """Verifies pairs by local features."""

    def __init__(self, local, chance, min_score, burst, run):
        self._local, self._chance, self._min_score, self._burst, self._run = local, chance, min_score, burst, run

    def of(self, found):
        """`Matches` of the nearest photos of each, `(scores, rows), mirrored`, of those and of mirror images."""
        best = {}
        with self._run.report.progress(len(found) * len(self._local.rows), "photo") as progress:
            for (scores, rows), mirrored in found:
                for row in self._rounds(scores, rows, mirrored, progress.update):
                    key = tuple(sorted(row[:2]))
                    if key not in best or (row[4] is None, row[5]) > (best[key][4] is None, best[key][5]):
                        best[key] = row
        return Matches.of_rows([best[key][:5] for key in sorted(best)])

    def _rounds(self, scores, rows, mirrored, progress):
        """Yield (first, second, score, map, kind, part of the features that agree): `STEP` nearest at a time."""
        active = np.ones(len(rows), bool)
        progress(len(rows))
        for start in range(0, rows.shape[1], STEP):
            first, second, score = pairs(scores, rows, start, start + STEP, active)
            first, second, score = self._worth(first, second, score)
            if not len(first):
                return
            deep = self._deep(rows, first, second, score)
            active = np.zeros(len(rows), bool)
            work = zip(first.tolist(), second.tolist(), deep.tolist(), itertools.repeat(mirrored))
            for pair, (matrix, kind, shared) in zip(
                zip(first.tolist(), second.tolist(), score.tolist(), strict=True),
                ordered_map(lambda item: self._one(*item), work, self._run.jobs),
                strict=True,
            ):
                if matrix is not None:
                    active[list(pair[:2])] = True
                    yield (*pair, matrix, kind, shared)

    def _deep(self, rows, first, second, score):
        """Which pairs are worth more than a quick look."""
        deep = np.zeros(len(first), bool) if self._chance is None else self._stands(first, second, score, SURE)
        if len(rows) <= MANY:
            for one, other in ((first, second), (second, first)):
                deep |= (rows[one, :NEAR] == other[:, None]).any(axis=1)
        return deep

    def _stands(self, first, second, score, by_chance):
        return self._chance.standing(first, second, score) >= self._chance.reached(by_chance * len(self._local.rows))

    def _worth(self, first, second, score):
        """Those pairs that are looked at."""
        kept = (self._local.rows[first] >= 0) & (self._local.rows[second] >= 0)
        if self._min_score is not None:
            kept &= score >= self._min_score
        elif len(self._local.rows) > MANY:
            kept &= self._stands(first, second, score, PROPOSED)
        return first[kept], second[kept], score[kept]

    def _one(self, first, second, deep, mirrored):
        """Map, kind and part of one pair; None for the map where it is no copy."""
        if not deep and self._fit(first, second, QUICK, mirrored) is None:
            return None, None, 0.0
        fit = self._fit(first, second, STRONGEST, mirrored)
        size, other = (self._local.size(photo) for photo in (first, second))
        if fit is None or not (fit.copy or self._burst and not mirrored and fit.again(size, other)):
            return None, None, 0.0
        matrix = geometry.followed(geometry.mirror(size), fit.matrix) if mirrored else fit.matrix
        return matrix, None if fit.copy else VIEW, fit.shared

    def _fit(self, first, second, count, mirrored):
        return geometry.fitted(self._local.places(first, count, mirrored), self._local.places(second, count))
