"""What the pages of evaluations and of searches are both built with."""

import itertools

import numpy as np

from imgret.evidence import said


class Photos:
    """The photos of a page, each once, by position."""

    def __init__(self):
        self.names, self._positions = [], {}

    def position(self, name):
        """Where a photo is among `names`; it is added if need be."""
        if name not in self._positions:
            self._positions[name] = len(self.names)
            self.names.append(name)
        return self._positions[name]

    def top(self, gallery, ids, scores):
        """The `top` of an `Answer`: positions of `gallery[id]`, with their scores; a score that is no number is None."""
        return [
            (self.position(gallery[photo]), score if score is not None and np.isfinite(score) else None)
            for photo, score in zip(ids, scores, strict=True)
        ]


def box_of(corners):
    """Corners of a box as a page has them; None where they are NaN, as those of no box are, or no numbers at all."""
    return None if not np.isfinite(corners).all() else [round(float(corner), 3) for corner in corners]


def looked_at(evidence, maps, counts, enough):
    """What an `Answer` has of the photos that were looked at.

    Parameters
    ----------
    evidence : ndarray, shape (n,), or None
    maps : ndarray, shape (n, 3, 3), or None
    counts : str
        What is counted.
    enough : float
        From how many on a photo counts as verified: the maps of others are made of what agrees by chance, and are left out.

    Returns
    -------
    dict
        `evidence` and `maps`.
    """
    words = [] if evidence is None else [said(value, counts) or None for value in evidence.tolist()]
    verified = itertools.repeat(True) if evidence is None or np.isinf(enough) else (evidence >= enough).tolist()
    known = [] if maps is None else [each if one and np.isfinite(each).all() else None for each, one in zip(maps, verified, strict=False)]
    return {"evidence": words if any(words) else [], "maps": known}
