"""TREC relevance judgements: lines of `topic iteration name relevance`."""

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation import files
from imgret.evaluation.names import shown, trec_escape, trec_unescape

POSITIVE, WRONG, TAKEN_OUT = 1, 0, -1


def read_qrels(path):
    """Read judgements.

    Names are percent-decoded, as `qrels_lines` encodes them.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict of bytes to dict of bytes to int
        topic -> name -> relevance.

    Raises
    ------
    ImgretError
        With file and line, for a line that has not four fields, a relevance that is no whole number, or a name judged twice for a topic.
    """
    judged = {}
    for first, block in files.line_blocks(path, regular=False):
        for number, line in enumerate(block.split(b"\n"), first):
            fields = line.split()
            if not fields:
                continue
            if len(fields) != 4:
                what = "a line of judgements has four fields (topic iteration name relevance)"
                raise ImgretError(f"{path}:{number}: {what}, this one has {len(fields)}")
            topic, _, name, grade = fields
            try:
                relevance = int(grade) if len(grade) < 10 else None
            except ValueError:
                relevance = None
            if relevance is None:
                raise ImgretError(f"{path}:{number}: the relevance (fourth field) must be a whole number, got {shown(grade)}")
            names, name = judged.setdefault(trec_unescape(topic), {}), trec_unescape(name)
            if name in names:
                raise ImgretError(f"{path}:{number}: {shown(name)} is judged twice for topic {shown(trec_unescape(topic))}")
            names[name] = relevance
    if not judged:
        raise ImgretError(f"{path} is empty: it holds no judgement")
    return judged


def qrels_lines(judged, setting):
    """Yield the lines of what a protocol asks of a ranking as judgements, each without its newline.

    1 is a positive, -1 is taken out of the list: junk, and the query photo itself where the protocol takes it out. Positives that the
    gallery has not have no line.

    Parameters
    ----------
    judged : imgret.evaluation.protocols.base.Judged
    setting : str

    Yields
    ------
    str
    """
    lists, asked = judged.lists, judged.asked
    for question in asked.settings[setting]:
        topic = trec_escape(lists.query_ids[question.row])
        own = [question.own] if judged.protocol.removes_query and question.own >= 0 else []
        gone = np.union1d(np.concatenate([question.junk, asked.junk]), own).astype(np.int64)
        for ids, relevance in ((np.setdiff1d(question.ids, gone), POSITIVE), (gone, TAKEN_OUT)):
            for photo in ids.tolist():
                yield f"{topic} 0 {trec_escape(lists.names[photo])} {relevance}"
