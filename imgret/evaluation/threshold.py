"""From which score on a first answer is right: what recall at 1 is worth where the photo asked for may not be there."""

import dataclasses

import numpy as np

from imgret.evaluation.questions import HIT, JUNK, QUERY


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A score that tells right first answers from wrong ones.

    Attributes
    ----------
    right : float
        Share of the queries whose first answer is right: recall at 1.
    threshold : float or None
        An answer counts where its score is at least this; None where no answer is right.
    balanced : float or None
        Mean of two shares: of the right answers, those that count; of the wrong ones, those that do not. Where none is wrong, the first.
    answered : float
        Share of the queries whose answer counts.
    precision : float or None
        Share of the right ones among the answers that count.
    """

    right: float
    threshold: float | None
    balanced: float | None
    answered: float
    precision: float | None


def first_figures(scores, right):
    """`best_threshold` as figures: dict of str to float or None, each name of `Threshold`'s behind `first.`."""
    return {f"first.{name}": value for name, value in vars(best_threshold(scores, right)).items()}


def first_answers(judged, setting=""):
    """The first answer to each query, once the query itself and junk have been taken out.

    Parameters
    ----------
    judged : imgret.evaluation.judged.Judged
        Of lists with scores.
    setting : str

    Returns
    -------
    scores : ndarray, shape (Q,), float32
        −inf where there is no answer.
    right : ndarray, shape (Q,), bool
        Whether it is a positive.
    """
    lists, found, questions = judged.lists, judged.found[setting], judged.asked.settings[setting]
    scores, right = np.full(len(questions), -np.inf, dtype=np.float32), np.zeros(len(questions), dtype=bool)
    for number, question in enumerate(questions):
        part = slice(found.offsets[number], found.offsets[number + 1])
        kinds = dict(zip(found.places[part].tolist(), found.kinds[part].tolist(), strict=True))
        place = 0
        while kinds.get(place) in (JUNK, QUERY):
            place += 1
        if place < lists.lengths[question.row]:
            scores[number], right[number] = lists.scores[question.row, place], kinds.get(place) == HIT
    return scores, right


def best_threshold(scores, right):
    """The threshold of the highest balanced accuracy; of several that are equally good the lowest, which answers most.

    Parameters
    ----------
    scores : array_like, shape (Q,)
        Of first answers, higher is better; −inf where there is none.
    right : array_like, shape (Q,), bool
        Where there is no answer, False.

    Returns
    -------
    Threshold

    References
    ----------
    Balanced accuracy, (sensitivity + specificity) / 2: Brodersen, Ong, Stephan & Buhmann, ICPR 2010. Its maximum is that of Youden's
    index, Cancer 3 (1950).
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    total, hits = len(scores), int(right.sum())
    if not hits:
        return Threshold(0.0, None, None, 0.0, None)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])  # of equal scores all count, or none
    counting = ends + 1
    among = np.cumsum(right[order])[ends]
    kept = among / hits
    # whole numbers, so that what is equally good is equal
    worth = among * (total - hits) - (counting - among) * hits if hits < total else among
    best = len(worth) - 1 - int(np.argmax(worth[::-1]))
    wrong = counting[best] - among[best]
    balanced = (kept[best] + 1 - wrong / (total - hits)) / 2 if hits < total else kept[best]
    share = hits / total, float(scores[order[ends[best]]]), float(balanced), float(counting[best] / total)
    return Threshold(*share, float(among[best] / counting[best]))
