"""Ground truth as TREC relevance judgements."""

import numpy as np

from imgret.evaluation.asking import Asking
from imgret.evaluation.protocols.base import CLASSIC, Protocol
from imgret.evaluation.questions import Question
from imgret.evaluation.wording import FINITE_SUM, MEASURES, TRUNCATION, WHOLE, no_query_shared
from imgret.formats.listfolder import read_folder
from imgret.formats.trec import read_qrels

UNJUDGED = "without judgements"


class Qrels(Protocol):
    """TREC judgements: what is judged above zero is a positive, as trec_eval has it.

    Unjudged photos and those judged 0 stay in the list and match nothing. A negative judgement takes the photo out of the list, which
    trec_eval cannot do: there it counts as not relevant. The query photo is a photo like any other. A topic belongs to the query of that
    name; one without positives is excluded from the means.
    """

    name = "qrels"
    needs_truth = takes_truth = True
    truth_is = "a TREC file of judgements: lines of topic, iteration, name, relevance"
    removes_query = False
    reported = (*CLASSIC, "r-precision", "mrr")
    conventions = {
        "ap": FINITE_SUM,
        "positives": "photos judged above 0, whether the gallery has them or not; queries without any are excluded",
        "query": "the query photo stays in its list; it counts as it is judged",
        "crop": WHOLE,
        "junk": "photos judged below 0 are taken out of the list; unjudged ones stay and match nothing",
        "truncation": TRUNCATION,
        "names": "exactly, once percent-decoded",
        "measures": f"{MEASURES}; r-precision is the precision in the first R, R the number of positives; mrr the mean of 1 / first rank",
    }

    def _read_folder(self, path, truth):
        judged = read_qrels(truth)
        return read_folder(path, list(judged), known={name for names in judged.values() for name in names})

    def names_in(self, lists, truth):
        """The names of the ground truth; see `Protocol.names_in`."""
        judged = read_qrels(truth)
        return {*judged, *(name for names in judged.values() for name in names)}

    def ask(self, lists, truth):
        """What the judgements ask of the lists; see `Protocol.ask`."""
        path, judged = truth, read_qrels(truth)
        positions = lists.positions()
        topics = {name: row for row, name in enumerate(lists.query_names)}
        if len(topics) < len(lists.query_names):
            topics = {}
        topics |= {name: row for row, name in enumerate(lists.query_ids)}
        asked = [topic for topic in judged if topic in topics]
        if not asked:
            raise no_query_shared(lists, path, min(judged), source="the judgements")
        asking = Asking(lists, skips=(UNJUDGED,), excludes="without positives in the judgements")
        asking.answered([topics[topic] for topic in asked], len(judged), UNJUDGED)
        for topic in asked:
            names = judged[topic]
            positives = [name for name, relevance in names.items() if relevance > 0]
            if not positives:
                asking.exclude()
                continue
            lacking = tuple(name for name in positives if name not in positions)
            asking.absent.update(lacking)
            ids, junk = (
                np.array([positions[name] for name in some if name in positions], dtype=np.int64)
                for some in (positives, [name for name, relevance in names.items() if relevance < 0])
            )
            photo = lists.query_names[topics[topic]]
            own, itself = positions.get(photo, -1), photo in positives
            asking.add(Question(topics[topic], topic, len(positives), ids, junk, own, lacking, itself))
        return asking.done()
