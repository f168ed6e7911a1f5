"""Revisited Oxford and Paris (Radenović, Iscen, Tolias, Avrithis & Chum, CVPR 2018)."""

import numpy as np

from imgret.evaluation.asking import Asking
from imgret.evaluation.measures import average_precision_trapezoid
from imgret.evaluation.protocols.base import Protocol
from imgret.evaluation.questions import Question
from imgret.evaluation.shortnames import Rows, ShortNames
from imgret.evaluation.wording import CROP, TRAPEZOID, TRUNCATION, no_query_shared
from imgret.formats.listfolder import read_folder
from imgret.formats.revisited import read_revisited
from imgret.names import short

UNLISTED = "not in the ground truth"
SETTINGS = {  # positives; what is taken out beside the query
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}


class ROxford5k(Protocol):
    """Revisited Oxford5k: easy, medium and hard, each with what the others count taken out.

    Easy: easy photos are positives, hard and junk ones are taken out; medium: both are positives, junk is taken out; hard: hard ones are
    positives, easy and junk ones are taken out. The query photos are no part of the official gallery: where the gallery has them, all are
    taken out of every list. Other photos that the ground truth does not name (a million distractors) stay and match nothing. A query
    without positives in a setting is left out of that setting's means. Whether only the box of the query was described is the extraction's
    affair (`extract --boxes`).
    """

    name = "roxford5k"
    needs_truth = takes_truth = True
    truth_is = "the authors' gnd_roxford5k.pkl (read as data, nothing in it is run), or the same as JSON"
    average_precision = staticmethod(average_precision_trapezoid)
    reported = ("mp@1", "mp@5", "mp@10")
    conventions = {
        "ap": TRAPEZOID,
        "positives": "easy: easy photos; medium: easy and hard ones; hard: hard ones; queries without any are excluded from the setting",
        "query": "all query photos are taken out of every list and are no positives: the official gallery has none of them",
        "crop": CROP,
        "junk": "taken out, the ranks behind it close up; in easy the hard photos too, in hard the easy ones",
        "truncation": TRUNCATION,
        "names": "without folders, with or without extension",
        "measures": "mP@k is precision at min(k, rank of the last positive), as the authors' program computes it",
    }

    def _read_folder(self, path, truth):
        return read_folder(path, [query.name for query in read_revisited(truth).queries])

    def names_in(self, lists, truth):
        """The names of the ground truth; see `Protocol.names_in`."""
        truth = read_revisited(truth)
        return [*truth.gallery, *(query.name for query in truth.queries)]

    def keys(self, name):
        """The name without folders and extension; see `Protocol.keys`."""
        return (short(name),)

    def ask(self, lists, truth):
        """What the ground truth asks of the lists; see `Protocol.ask`."""
        path, truth = truth, read_revisited(truth)
        lists.check_names()
        rows = Rows(lists)
        row_of = {query.name: row for query in truth.queries if (row := rows.of(query.name, query.name)) is not None}
        if not row_of:
            raise no_query_shared(lists, path, truth.queries[0].name)
        names = [short(name) for name in truth.gallery]
        own = {query.name: short(query.name) for query in truth.queries}
        gallery = ShortNames(lists, path, {*names, *own.values()})
        ids = np.array([gallery.ids.get(name, -1) for name in names], dtype=np.int64)
        asking = Asking(lists, skips=(UNLISTED,), settings=tuple(SETTINGS), whole="medium")
        asking.answered(row_of.values(), len(truth.queries), UNLISTED)
        for setting, (counting, removed) in SETTINGS.items():
            for query in truth.queries:
                if query.name not in row_of:
                    continue
                positives, junk = (np.concatenate([getattr(query, level) for level in levels]) for levels in (counting, removed))
                if not len(positives):
                    asking.exclude(setting)
                    continue
                known, gone = ids[positives], ids[junk]
                lacking = tuple(truth.gallery[photo] for photo in positives[known < 0])
                asking.absent.update(lacking)
                self_id = gallery.ids.get(own[query.name], -1)
                row, name = row_of[query.name], query.name
                question = Question(row, name, len(positives), known[known >= 0], gone[gone >= 0], self_id, lacking, box=query.box)
                asking.add(question, setting)
        queries = gallery.of(sorted(own.values()))
        asking.take_out(queries, "query photo", "in the gallery: taken out of every list, as the official gallery has none")
        return asking.done()


class RParis6k(ROxford5k):
    """Revisited Paris6k: the protocol of revisited Oxford5k with the ground truth of Paris.

    Easy, medium and hard as there: what a setting does not count as positive or negative is taken out of its lists, the query photos are
    taken out of all, average precision is by trapezoids.
    """

    name = "rparis6k"
    truth_is = "the authors' gnd_rparis6k.pkl (read as data, nothing in it is run), or the same as JSON"
