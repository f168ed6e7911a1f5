"""Copy detection: true pairs of a query and a reference, all queries ranked together."""

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation import measures
from imgret.evaluation.asking import Asking
from imgret.evaluation.judged import Judged
from imgret.evaluation.protocols.base import Protocol
from imgret.evaluation.questions import HIT, QUERY, Question
from imgret.evaluation.shortnames import ShortNames
from imgret.evaluation.wording import WHOLE, no_query_shared
from imgret.formats.tables import read_pairs
from imgret.names import short, shown

PRECISION = 0.9  # of recall@p90


class Pairs(Protocol):
    """Micro average precision (µAP): one ranking of all pairs of query and reference by score, as in the image similarity challenge.

    A score must mean the same for every query. Each list asks, and a query that the ground truth does not name, or names without a
    reference, is copied from nothing: all its pairs are wrong. Pairs of one score are taken at once. A true pair that no list holds counts
    as never found, also where its query has no list or the gallery lacks the reference. The query photo itself is taken out of its list.
    """

    name = "pairs"
    needs_truth = takes_truth = True
    truth_is = "a CSV with the header query,reference: one true pair per line, an empty reference where there is none"
    primary = None
    reported = ()
    figures = ("uap", "recall@p90")
    conventions = {
        "ap": "micro: finite sum over the pairs of all lists together, by score, pairs of one score at once; not interpolated",
        "positives": "the pairs in the CSV, found or not",
        "query": "the query photo itself is taken out of its list; queries without a true pair ask too, and only add wrong pairs",
        "crop": WHOLE,
        "junk": "none",
        "truncation": "a true pair that is not in the lists counts as never found; wrong pairs beyond the lists are not seen",
        "names": "without folders and extension",
        "measures": "uap: micro average precision; recall@p90: the largest recall at which precision is at least 0.9",
    }

    def _read_folder(self, path, truth):
        raise ImgretError(
            f"{path}: µAP ranks the pairs of all queries by score, and text lists have none: give a ranking store or a TREC run"
        )

    def judged(self, lists, asked):
        """The `PairsJudged` of questions."""
        return PairsJudged(self, lists, asked)

    def searched(self, names, truth):
        """Queries of the pairs ask; all but those that are a query only are searched; see `Protocol.searched`."""
        self.check_truth(truth)
        pairs = read_pairs(truth)
        queries, references = {short(query) for query in pairs}, {short(name) for names in pairs.values() for name in names}
        return [name for name in names if short(name) in queries], [name for name in names if short(name) not in queries - references]

    def names_in(self, lists, truth):
        """The names of the ground truth; see `Protocol.names_in`."""
        pairs = read_pairs(truth)
        return {*pairs, *(name for names in pairs.values() for name in names)}

    def keys(self, name):
        """The name without folders and extension; see `Protocol.keys`."""
        return (short(name),)

    def ask(self, lists, truth):
        """What the pairs ask of the lists; see `Protocol.ask`."""
        if lists.scores is None:
            raise ImgretError(
                f"{lists.label}: µAP ranks the pairs of all queries by score, and it has none: give a ranking store or a TREC run"
            )
        path, pairs = truth, read_pairs(truth)
        positions = lists.positions()
        truth = {}
        for query, references in pairs.items():
            if short(query) in truth:
                raise ImgretError(f"{path}: two queries are called {shown(short(query))} without folder and extension")
            truth[short(query)] = {short(reference) for reference in references}
            if short(query) in truth[short(query)]:
                raise ImgretError(f"{path}: {shown(query)} is paired with itself: a query photo is taken out of its own list")
        gallery = ShortNames(lists, path, set().union(*truth.values()))
        asking, asked = Asking(lists), set()
        for row, (query_id, name) in enumerate(zip(lists.query_ids, lists.query_names, strict=True)):
            label = short(query_id) if short(query_id) in truth else short(name)
            if label in asked:
                raise ImgretError(f"{lists.label} has two lists for query {shown(label)}: keep one")
            asked.add(label)
            references = truth.get(label, set())
            ids = gallery.of(sorted(references))
            lacking = tuple(sorted(references - gallery.ids.keys()))
            asking.add(Question(row, name, len(references), ids, own=positions.get(name, -1), absent=lacking))
        if not asked & truth.keys():
            raise no_query_shared(lists, path, min(truth))
        unasked = sum(bool(references) and label not in asked for label, references in truth.items())
        asking.unasked(unasked, "of the ground truth without a list in the ranking: their pairs count as never found")
        asking.absent.update(set().union(*truth.values()) - gallery.ids.keys())
        asking.count_pairs(sum(map(len, truth.values())))
        return asking.done()


class PairsJudged(Judged):
    """A ranking and the true pairs; see `Judged`."""

    def _values(self, setting):
        return np.full(len(self.asked.settings[setting]), np.nan)  # µAP is no mean of values of queries

    def _pairs(self):
        """Scores of all pairs, and which are true."""
        found, lists = self.found[""], self.lists
        hits = np.zeros(lists.ids.shape, dtype=bool)
        counted_ones = lists.ids >= 0
        for place, question in enumerate(self.asked.settings[""]):
            part = slice(found.offsets[place], found.offsets[place + 1])
            places, kinds = found.places[part], found.kinds[part]
            hits[question.row, places[kinds == HIT]] = True
            counted_ones[question.row, places[kinds == QUERY]] = False
        return hits[counted_ones], lists.scores[counted_ones]

    def means(self, setting):
        """uap and recall@p90."""
        uap, recall, precision = measures.micro_average_precision(*self._pairs(), self.asked.pairs)
        return dict(zip(self.protocol.figures, (uap, float(recall[precision >= PRECISION].max(initial=0.0))), strict=True))

    def curves(self, levels=101):
        """The one curve over all pairs, interpolated: dict of setting to ndarray, shape (levels,)."""
        _, recall, precision = measures.micro_average_precision(*self._pairs(), self.asked.pairs)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        where = np.searchsorted(recall, np.linspace(0, 1, levels) - 1e-12)
        return {"": np.append(best, 0.0)[where]}
