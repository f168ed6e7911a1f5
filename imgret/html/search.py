"""The page of a search, from its answers block by block."""

import os

import numpy as np

from imgret.chance import worth
from imgret.html.building import Photos, box_of, looked_at
from imgret.html.contract import Answer, Page, Query, Run
from imgret.html.drawing import points
from imgret.names import to_text

MATCHES = 500_000  # on a page: some 12 MB


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
        self._room, self._pictured = MATCHES, None

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
            answer = Answer(top, matches=judged, points=self._points(block, row, shown), **_looked_at(block, row, shown))
            self._queries.append((to_text(block.names[row]), box_of(block.boxes[row]), answer))

    def _points(self, block, row, shown):
        """What matches in the results in some columns; nothing where nobody looked, or the page is full."""
        pairs = [] if block.matches is None else block.matches[row]
        drawn = [points(pairs[column]) if column < len(pairs) else None for column in shown.tolist()]
        self._room -= sum(len(each) // 4 for each in drawn if each)
        if self._room < 0 and self._pictured is None:
            self._pictured = len(self._queries)
        return drawn if any(drawn) and self._pictured is None else []

    @property
    def gallery(self):
        """The gallery photos that are shown: list of str. Those that ask come behind them on the page, each a photo of its own."""
        return [to_text(name) for name in self._photos.names]

    def _notes(self):
        if len(self._queries) < self._total:
            yield f"the first {len(self._queries)} of {self._total} queries are shown"
        if self._pictured is not None:
            yield f"what matches is shown of the first {self._pictured}"

    def page(self):
        """What `search --html` shows.

        Returns
        -------
        imgret.html.contract.Page
        """
        gallery = self.gallery
        return Page(
            title=f"search in {self._label}",
            note="; ".join(self._notes()) or None,
            runs=[Run(self._label, [("queries", self._total)])],
            photos=[*gallery, *(name for name, _ in self.asking)],
            queries=[Query(name, len(gallery) + number, box, [answer]) for number, (name, box, answer) in enumerate(self._queries)],
        )


def _looked_at(block, row, shown):
    """`evidence` and `maps` of the results in some columns."""
    evidence, maps = (None if values is None else values[row, shown] for values in (block.evidence, block.maps))
    return looked_at(evidence, maps, block.counts, block.enough)
