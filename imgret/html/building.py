"""What the pages of evaluations and of searches are both built with."""

import numpy as np


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
    """Corners of a box as a page has them; None where they are NaN."""
    return None if np.isnan(corners).any() else [round(float(corner), 3) for corner in corners]
