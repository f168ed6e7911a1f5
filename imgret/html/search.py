"""The page of a search, from its answers block by block."""

import os

import numpy as np

from imgret.chance import worth
from imgret.html.building import Photos, box_of, looked_at
from imgret.html.contract import Answer, Page, Query, Run
from imgret.html.drawing import points
from imgret.names import to_text


class Gathering:
    """Gathers the answers of a search.

    Parameters
    ----------
    label : str
        What was searched.
    top, most : int
        Results per query, and queries: of more, the first are shown.

    Attributes
    ----------
    asking : list of (str, bytes or None)
        Per query that is shown: the name of its photo, and the photo's whole path, where it was given as a photo.
    """

    def __init__(self, label, top, most):
        self._label, self._top, self._most = label, top, most
        self._photos, self._queries, self._total, self.asking = Photos(), [], 0, []

    def add(self, gallery, block):
        """One more block.

        Parameters
        ----------
        gallery : sequence of bytes
            The gallery photos' names.
        block : imgret.stages.search.Block
            A few queries; the photo that asks is no result.
        """
        self._total += len(block.names)
        for row in range(min(len(block.names), self._most - len(self._queries))):
            path = None if block.paths is None else os.path.abspath(block.paths[row])
            shown = np.flatnonzero((block.ids[row] >= 0) & ~block.itself[row])[: self._top]
            top = self._photos.top(gallery, block.ids[row, shown].tolist(), block.scores[row, shown].tolist())
            judged = [] if block.levels is None else [worth(block.levels, row, column) or None for column in shown.tolist()]
            self.asking.append((to_text(block.photo_names[row]), path))
            answer = Answer(top, matches=judged, points=_points(block, row, shown), **_looked_at(block, row, shown))
            self._queries.append((to_text(block.names[row]), box_of(block.boxes[row]), answer))

    @property
    def gallery(self):
        """The gallery photos that are shown: list of str. Those that ask come behind them on the page, each a photo of its own."""
        return [to_text(name) for name in self._photos.names]

    def page(self):
        """What `search --html` shows.

        Returns
        -------
        imgret.html.contract.Page
        """
        gallery, shown = self.gallery, len(self._queries)
        return Page(
            title=f"search in {self._label}",
            note=f"the first {shown} of {self._total} queries are shown" if shown < self._total else None,
            runs=[Run(self._label, [("queries", self._total)])],
            photos=[*gallery, *(name for name, _ in self.asking)],
            queries=[Query(name, len(gallery) + number, box, [answer]) for number, (name, box, answer) in enumerate(self._queries)],
        )


def _looked_at(block, row, shown):
    """`evidence` and `maps` of the results in some columns."""
    evidence, maps = (None if values is None else values[row, shown] for values in (block.evidence, block.maps))
    return looked_at(evidence, maps, block.counts, block.enough)


def _points(block, row, shown):
    """What matches in them; nothing where nobody looked."""
    pairs = [] if block.matches is None else block.matches[row]
    drawn = [points(pairs[column]) if column < len(pairs) else None for column in shown.tolist()]
    return drawn if any(drawn) else []
