"""What a protocol asks of a ranking, as judgements and a run that TREC's programs take."""

import numpy as np

from imgret.evaluation.questions import HIT
from imgret.formats.trec import trec_escape

POSITIVE, TAKEN_OUT = 1, -1


def qrels_lines(judged, setting):
    """Yield the lines of what a protocol asks of a ranking as judgements, each without its newline.

    1 is a positive, whether the gallery has it or not; -1 is taken out of the list: junk, and the query photo itself where the protocol
    takes it out. Other programs count those as not relevant instead: for them there is `closed_up_lines`.

    Parameters
    ----------
    judged : imgret.evaluation.judged.Judged
    setting : str

    Yields
    ------
    str
    """
    lists, asked = judged.lists, judged.asked
    for question in asked.settings[setting]:
        topic = trec_escape(judged.identity(question))
        own = [question.own] if judged.protocol.removes_query and question.own >= 0 else []
        gone = np.union1d(np.concatenate([question.junk, asked.junk]), own).astype(np.int64)
        absent = (name for name in question.absent if name != question.name or not judged.protocol.removes_query)
        positives = [*(lists.names[photo] for photo in np.setdiff1d(question.ids, gone)), *absent]
        for names, relevance in ((positives, POSITIVE), ((lists.names[photo] for photo in gone), TAKEN_OUT)):
            for name in names:
                yield f"{topic} 0 {trec_escape(name)} {relevance}"


def unnamed(judged):
    """How many positives have no line in `qrels_lines`, of all settings: the ground truth counts them without a name."""
    count, removes = 0, judged.protocol.removes_query
    for question in judged.asked.questions():
        own = (question.own in question.ids) + (question.name in question.absent) if removes else 0
        count += question.positives - len(question.ids) - len(question.absent) + own
    return count


def closed_up_lines(judged, setting):
    """Yield the lines of a TREC run of the lists as a protocol counts them: what it takes out is gone, and no two scores are the same.

    With the judgements of `qrels_lines` other programs then compute what imgret does where the protocol's average precision is the finite
    sum. Scores are numbers that go down to 1: ties have been broken as imgret breaks them, and trec_eval would break them the other way
    round. A query whose list is empty has no line: the format cannot say so (`trec_eval -c` counts it all the same).

    Parameters
    ----------
    judged : imgret.evaluation.judged.Judged
    setting : str

    Yields
    ------
    str
    """
    lists, found = judged.lists, judged.found[setting]
    for place, question in enumerate(judged.asked.settings[setting]):
        part = slice(found.offsets[place], found.offsets[place + 1])
        kept = np.ones(int(lists.lengths[question.row]), dtype=bool)
        kept[found.places[part][found.kinds[part] != HIT]] = False
        topic, photos = trec_escape(judged.identity(question)), lists.ids[question.row, : len(kept)][kept].tolist()
        for rank, photo in enumerate(photos, 1):
            yield f"{topic} Q0 {trec_escape(lists.names[photo])} {rank} {len(photos) - rank + 1} imgret"
