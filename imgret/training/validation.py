"""The score of a network while it is trained: an ordinary protocol on photos that training does not see."""

import numpy as np

from imgret.errors import ImgretError, counted
from imgret.evaluation.result import qualified
from imgret.evaluation.threshold import first_answers, first_figures
from imgret.formats.lists import RankedLists
from imgret.indexes.flat import Flat

RANKS = 1000  # what `search` stores
LABEL = "the validation photos"


class Validation:
    """Asks photos of each other, ranks by exact cosine similarity, and evaluates by a protocol.

    The figures are those of `imgret index -m flat`, `imgret search` of what `Protocol.searched` says that asks, and `imgret evaluate`:
    vectors are compared by the same code, lists end at the same rank, ties are broken by name.

    Parameters
    ----------
    judge : imgret.evaluation.protocols.base.Protocol
    names : sequence of bytes, length N
        The photos' names, distinct, in the order in which vectors come.
    truth : str, optional
        The protocol's ground truth: read now, and not again.
    jobs : int
        Threads; the figures do not depend on them.

    Attributes
    ----------
    pairs : list of (int, int)
        What is to be embedded, a row each: photo and view (0, the photo as it is).
    protocol : str
        Its name.
    measure : str
        What `score` returns: the protocol's primary measure, and where that is no mean over queries (`pairs`), its first figure.
    told : dict
        What a history says of it: `photos`, `queries`, `held_out`.
    notes : list of str
        What a reader of the figures should know, one sentence each.

    Raises
    ------
    ImgretError, UsageError
        If the truth and the photos share nothing, or no photo can ask: before there is any vector.
    """

    def __init__(self, judge, names, truth=None, jobs=1):
        self._judge, self._jobs, self.protocol = judge, jobs, judge.name
        self.pairs = [(photo, 0) for photo in range(len(names))]
        self.measure = judge.figures[0] if judge.primary is None else judge.primary
        place = {name: number for number, name in enumerate(names)}
        asking, searched = judge.searched(sorted(place), truth)
        self._gallery = sorted(searched)  # as a store has them: of equal scores the lower name comes first
        if not asking or not searched:
            what = "asks" if not asking else "is searched"
            raise ImgretError(f"none of {counted(len(names), 'validation photo')} {what} by {truth}: give photos that it names")
        asked = judge.judge(self._lists(asking), truth)
        self._asking = [asking[row] for row in asked.rows()]
        self._asked = judge.judge(self._lists(self._asking), truth).asked
        self._rows = [np.array([place[name] for name in some], dtype=np.int64) for some in (self._asking, self._gallery)]
        self.told = {"photos": len(names), "queries": len(self._asking), "held_out": False}
        self.notes = list(asked.asked.warnings)
        if len(self._gallery) > RANKS:
            self.notes.append(f"lists of {LABEL} end at rank {RANKS}, as those of search do: a positive beyond it counts as never found")

    def _lists(self, queries, ids=None, scores=None):
        """Ranked lists of these queries: empty ones, by which a protocol tells what it will ask."""
        none = np.empty((len(queries), 0))
        ids, scores = (none.astype(np.int32), none.astype(np.float32)) if ids is None else (ids, scores)
        return RankedLists(LABEL, queries, queries, self._gallery, ids, scores)

    def judged(self, vectors):
        """Rank the photos by some vectors.

        Parameters
        ----------
        vectors : ndarray, shape (N, D), float32
            Finite, of any length, in the order of the names.

        Returns
        -------
        imgret.evaluation.judged.Judged

        Raises
        ------
        ImgretError
            If they are not finite.
        """
        asking, searched = (np.ascontiguousarray(vectors[rows], dtype=np.float32) for rows in self._rows)
        index = Flat(Flat.Params())
        index.plan(vectors.shape[1], 0, len(searched))
        index.add(searched)
        scores, ids = index.search(asking, min(RANKS, len(searched)), jobs=self._jobs)
        return self._judge.judged(self._lists(self._asking, ids, scores), self._asked)

    def score(self, vectors):
        """The score of a network that gives these vectors.

        Parameters
        ----------
        vectors : ndarray, shape (N, D), float32
            As `judged` takes them.

        Returns
        -------
        value : float
            The primary measure; higher is better.
        figures : dict of str to float or None
            All measures of the protocol, and about first answers what `imgret.evaluation.threshold.Threshold` says, each name behind
            `first.`.
        """
        judged = self.judged(vectors)
        setting = next(name for name, questions in self._asked.settings.items() if questions)
        figures = {}
        for name, questions in self._asked.settings.items():
            if questions:
                figures |= {qualified(name, measure): value for measure, value in judged.means(name).items()}
        return figures[qualified(setting, self.measure)], figures | first_figures(*first_answers(judged, setting))
