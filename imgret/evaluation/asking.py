"""What a protocol finds as it goes through a ranking and a ground truth: questions, whatever may not be asked, and how that is said."""

import numpy as np

from imgret.evaluation.questions import Asked
from imgret.evaluation.wording import absent_warning, noted

UNASKED = "of the ground truth without a list in the ranking: left out of the means"


class Asking:
    """Collects what a protocol asks of a ranking, and counts and words whatever it does not.

    The sentences come in one order, whatever the order in which things are found: queries that are skipped, queries that are excluded,
    photos that are taken out, queries of the ground truth without a list, positives that the gallery has not, and then the protocol's own.

    Parameters
    ----------
    lists : imgret.formats.lists.RankedLists
    skips : sequence of str
        Why a query of the ranking may not ask, each to be read behind "3 queries of the ranking"; the sentences come in this order.
    excludes : str, optional
        What a query that is left out of the means lacks, to be read behind "3 queries"; without it that is counted, and not said.
    settings : sequence of str
        Settings that are there whether anything is asked in them or not; others begin with their first query.
    whole : str, optional
        The setting that a query is left out of only where it has no positive in any: the first by default.

    Attributes
    ----------
    absent : set of bytes
        Positives of the ground truth that the gallery has not. Names are added as they are found.
    """

    def __init__(self, lists, *, skips=(), excludes=None, settings=("",), whole=None):
        self._lists, self._excludes = lists, excludes
        self._whole = settings[0] if whole is None else whole
        self._questions = {setting: [] for setting in settings}
        self._excluded = dict.fromkeys(settings, 0)
        self._skipped = dict.fromkeys(skips, 0)
        self._unasked, self._unasked_is = 0, UNASKED
        self._removed, self._removed_is = np.empty(0, dtype=np.int64), None
        self._remarks, self._pairs = [], 0
        self.absent = set()

    def add(self, question, *settings):
        """One more `imgret.evaluation.questions.Question`, in the settings that are named: in `whole` where none is."""
        for setting in settings or (self._whole,):
            self._begun(setting).append(question)

    def exclude(self, *settings):
        """One more query without a positive, in the settings that are named: in `whole` where none is."""
        for setting in settings or (self._whole,):
            self._begun(setting)
            self._excluded[setting] += 1

    def _begun(self, setting):
        self._excluded.setdefault(setting, 0)
        return self._questions.setdefault(setting, [])

    def skip(self, why, count=1):
        """So many more queries of the ranking that may not ask; `why` is one of `skips`."""
        self._skipped[why] += count

    def unasked(self, count, what=UNASKED):
        """Say how many queries of the ground truth have no list, and what that means for them."""
        self._unasked, self._unasked_is = count, what

    def answered(self, rows, total, why):
        """Count both sides where the ground truth's queries look for their lists.

        Parameters
        ----------
        rows : collection of int
            The list of each query of the ground truth that has one; all other lists are skipped.
        total : int
            Queries of the ground truth; those beyond `rows` are unasked.
        why : str
            One of `skips`.
        """
        self.skip(why, len(self._lists.query_names) - len(set(rows)))
        self.unasked(total - len(rows))

    def take_out(self, ids, noun="photo", what=None):
        """Gallery photos that are taken out of every list; where `what` is given, it is said of them, behind "3 photos"."""
        self._removed = np.asarray(ids, dtype=np.int64)
        self._removed_is = None if what is None else (noun, what)

    def count_pairs(self, count):
        """Positives of all queries, also of those without a list, where a measure is over pairs."""
        self._pairs = count

    def note(self, count, noun, what):
        """Whatever else is to be said, of so many; nothing where there are none."""
        self._remarks += noted(count, noun, what)

    def remark(self, *sentences):
        """Whatever else is to be said."""
        self._remarks += sentences

    def done(self):
        """The `imgret.evaluation.questions.Asked`."""
        return Asked(
            settings=self._questions,
            excluded=self._excluded,
            left_out=self._excluded[self._whole],
            skipped=sum(self._skipped.values()),
            absent=sorted(self.absent),
            junk=self._removed,
            warnings=self._sentences(),
            pairs=self._pairs,
        )

    def _sentences(self):
        sentences = []
        for why, count in self._skipped.items():
            sentences += noted(count, "query", f"of the ranking {why}: skipped")
        if self._excludes is not None:
            sentences += noted(self._excluded[self._whole], "query", f"{self._excludes}: excluded")
        if self._removed_is is not None:
            sentences += noted(len(self._removed), *self._removed_is)
        sentences += noted(self._unasked, "query", self._unasked_is)
        return [*sentences, *absent_warning(self.absent), *self._remarks]
