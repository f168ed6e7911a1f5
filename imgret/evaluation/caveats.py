"""What a reader of an evaluation's numbers must be told about the lists themselves, one sentence each."""

import numpy as np

from imgret.errors import counted
from imgret.evaluation.wording import CROP, noted


def caveats(judged):
    """All of them: queries that asked with more than their box, and positives that no list can show.

    Parameters
    ----------
    judged : imgret.evaluation.judged.Judged

    Returns
    -------
    list of str
    """
    ends = _too_short(judged) if judged.protocol.primary in ("map", None) else _ended(judged)
    return [*_uncropped(judged), *_fractions(judged), *ends]


def _uncropped(judged):
    """About queries that asked with more than their box."""
    boxes = judged.lists.boxes
    if judged.protocol.conventions["crop"] != CROP or boxes is None:
        return []
    whole = int(np.isnan(boxes[judged.rows()]).any(axis=1).sum())
    return noted(whole, "query", "described as a whole photo, not within the ground truth's box (extract --boxes)")


def _fractions(judged):
    """About boxes that can hardly be pixels."""
    boxes = [question.box for question in judged.asked.questions() if question.box is not None]
    if not boxes or not all(0 <= corner <= 1 for box in boxes for corner in box):
        return []
    return ["all boxes of the ground truth lie within 0 and 1: are they fractions? Pixels are needed (extract --box-units takes either)"]


def _too_short(judged):
    """About positives that no list can show."""
    worst = {}  # by list, of the setting that lacks most
    for setting, found in judged.found.items():
        there = np.diff(found.ranks()[1])
        for question, positives, count in zip(judged.asked.settings[setting], found.positives, there, strict=True):
            if question.row not in worst or positives - count > worst[question.row][0] - worst[question.row][1]:
                worst[question.row] = (positives, count)
    lists, rows = judged.lists, np.array(list(worst))
    positives, there = np.array(list(worst.values())).T
    lengths = lists.lengths[rows]
    cut = lengths < len(lists.names) if lists.whole_gallery else np.ones(len(rows), dtype=bool)
    short = cut & (there < positives)
    sentences = []
    if short.any():
        missing = int((positives - there)[short].sum())
        sentences.append(
            f"{counted(missing, 'positive')} of {counted(int(short.sum()), 'query')} not in the list, which ends at rank"
            f" {_span(lengths[short])}: counted as never found; a longer list (search -k) may score higher"
        )
    few = cut & (lengths < positives)
    sentences += noted(int(few.sum()), "list", "shorter than the query has positives: average precision 1 cannot be reached")
    return sentences


def _ended(judged):
    """About lists that end before the k of a recall@k."""
    lists = judged.lists
    lengths = lists.lengths[judged.rows()]
    k = max(int(name.rpartition("@")[2]) for name in judged.protocol.reported)
    short = (lengths < k) & (lengths < len(lists.names) if lists.whole_gallery else True)
    if not short.any():
        return []
    return [f"{counted(int(short.sum()), 'list')} ending at rank {_span(lengths[short])}: recall beyond it is that at the end"]


def _span(lengths):
    low, high = int(lengths.min()), int(lengths.max())
    return str(low) if low == high else f"{low} to {high}"
