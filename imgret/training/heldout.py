"""Validation on photos that were kept from training, where no others are given."""

import numpy as np

from imgret.evaluation import measures
from imgret.evaluation.threshold import first_figures
from imgret.relations import hanging_together
from imgret.seeds import seed_of

BLOCK = 1024  # queries ranked at once
MOST = 5000  # photos that ask, or are asked for: memory does not grow with those to train on
LEAST = 2  # groups, or photos without labels, that are worth asking among


def held_out(relations, names, share, seed):
    """Photos to keep from training: whole clusters of those that match, drawn by the seed.

    Parameters
    ----------
    relations : imgret.relations.Relations
    names : sequence of bytes
    share : float
        Of the clusters with photos that match, or of all photos where none is said to.
    seed : int

    Returns
    -------
    ndarray of int64
        Ascending; empty where too little would be left on either side.
    """
    # nothing in one part is related to anything in another
    parts = hanging_together(relations.count, ((photo, relations.never(photo)) for photo in range(relations.count)))
    asking = np.unique(parts[relations.anchors()])
    first = {}
    for photo, part in enumerate(parts.tolist()):
        first.setdefault(part, photo)
    drawn = sorted(asking.tolist(), key=lambda part: seed_of(seed, "holdout", names[first[part]]))
    count = round(share * len(drawn))
    if count < LEAST or len(drawn) - count < LEAST:
        return np.empty(0, dtype=np.int64)
    sizes = np.bincount(parts, minlength=relations.count)
    few = int(np.searchsorted(np.cumsum(sizes[drawn[:count]]), MOST, side="right"))
    return np.flatnonzero(np.isin(parts, drawn[: max(LEAST, few)]))


class HeldOut:
    """Held-out photos ask for those that match them; without labels a seeded look at each asks for the photo itself among all,
    or where there are very many photos, among some of them.

    Mean average precision (finite sum, the photo that asks taken out) over photos with a match; of places recall@1. Photos that do not
    answer, and those of the traversal of the one that asks near it, are not ranked.

    Parameters
    ----------
    relations : imgret.relations.Relations
        Of all photos.
    photos : ndarray of int64
        Those held out, ascending.
    labelled : bool
    """

    protocol = "held-out"

    def __init__(self, relations, photos, labelled):
        self.labelled, self._photos, self.measure = labelled, photos, relations.measure
        if labelled:
            place = {photo: row for row, photo in enumerate(photos.tolist())}
            found = [[place[other] for other in relations.positives(photo).tolist() if other in place] for photo in photos.tolist()]
            asks = np.isin(photos, relations.anchors()).tolist()
            self._asking = np.array([row for row, positives in enumerate(found) if positives and asks[row]], dtype=np.int64)
            self._positives = [np.array(found[row]) for row in self._asking.tolist()]
            self._silent = np.flatnonzero(~np.isin(photos, relations.answers()))
            self._ignored = [
                np.array([place[other] for other in relations.ignored(photo).tolist() if other in place], dtype=np.int64)
                for photo in photos[self._asking].tolist()
            ]
            self.pairs = [(photo, 0) for photo in photos.tolist()]
        else:
            others = np.setdiff1d(np.arange(relations.count), photos)
            gallery = np.union1d(photos, others[:: 1 + len(others) // MOST])
            self._asking = np.arange(len(gallery), len(gallery) + len(photos))
            self._positives = [np.array([place]) for place in np.searchsorted(gallery, photos).tolist()]
            self.pairs = [(photo, 0) for photo in gallery.tolist()] + [(photo, 1) for photo in photos.tolist()]
            self._gallery = len(gallery)

    @property
    def told(self):
        """What it is, for the history: dict."""
        return {"photos": len(self._photos), "queries": len(self._asking), "held_out": True}

    def score(self, vectors):
        """The measure, and all figures.

        Parameters
        ----------
        vectors : ndarray, shape (N, D), float32
            Of `pairs`, in their order.

        Returns
        -------
        float, dict of str to float or None
        """
        gallery = vectors if self.labelled else vectors[: self._gallery]
        ranks, offsets, positives, firsts = [], [0], [], []
        for start in range(0, len(self._asking), BLOCK):
            rows = self._asking[start : start + BLOCK]
            scores = vectors[rows] @ gallery.T
            for number, (row, line) in enumerate(zip(rows.tolist(), scores, strict=True), start):
                matching = self._positives[number]
                if self.labelled:
                    line[row] = line[self._silent] = line[self._ignored[number]] = -np.inf
                order = np.argsort(-line, kind="stable")
                found = np.sort(np.flatnonzero(np.isin(order, matching))) + 1
                ranks.append(found)
                offsets.append(offsets[-1] + len(found))
                positives.append(len(matching))
                firsts.append((line[order[0]], found[0] == 1))
        ranks, offsets, positives = np.concatenate(ranks), np.array(offsets), np.array(positives)
        figures = {"map": float(measures.average_precision(ranks, offsets, positives).mean())}
        figures["recall@1"] = float(measures.recalled_at(ranks, offsets, 1).mean())
        return figures[self.measure], figures | first_figures(*zip(*firsts, strict=True))
