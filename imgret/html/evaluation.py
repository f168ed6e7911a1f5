"""The page of an evaluation, from rankings that a protocol has judged."""

import numpy as np

from imgret.evaluation.result import qualified
from imgret.html.building import Photos, box_of, looked_at
from imgret.html.contract import Answer, Judgement, Page, Query, Run
from imgret.names import to_text

TITLE = 60  # characters of a title that fit


def evaluation_page(evaluation, top, most):
    """What `evaluate --html` shows.

    Parameters
    ----------
    evaluation : imgret.evaluation.comparison.Evaluation
    top : int
        Results per query.
    most : int
        Queries on the page; of more, as many are shown, evenly spread from the worst to the best.

    Returns
    -------
    imgret.html.contract.Page
    """
    judged, protocol, photos = evaluation.judged, evaluation.protocol, Photos()
    settings = list(dict.fromkeys(setting for each in judged for setting in each.asked.settings))
    names = list(dict.fromkeys(name for each in judged for name in each.identities()))
    chosen = _chosen(names, judged[0], "medium" if "medium" in settings else settings[0], most)
    answers = [_answers(each, set(chosen), top, photos) for each in judged]
    asked = _asked(judged)
    queries = []
    for name in chosen:
        photo, box = asked[name]
        queries.append(Query(to_text(name), photos.position(photo), box, [each.get(name) for each in answers]))
    return Page(
        title=title_of(protocol.name, [each.lists.label for each in judged]),
        protocol=protocol.name,
        conventions=protocol.conventions,
        note=_note(len(names), len(chosen)),
        measure="AP" if protocol.value == "ap" else protocol.value,
        settings=settings,
        runs=[_run(each, result) for each, result in zip(judged, evaluation.results, strict=True)],
        comparison=[_sentence(row) for row in evaluation.comparisons],
        photos=[to_text(name) for name in photos.names],
        queries=queries,
    )


def title_of(protocol, labels):
    """What the page is about; of rankings whose names would fill lines, how many they are."""
    title = f"{protocol}: {', '.join(labels)}"
    return title if len(labels) == 1 or len(title) <= TITLE else f"{len(labels)} runs by {protocol}"


def _asked(judged):
    """query's own name -> (name of its photo, box or None): the box that it asked with, or else the ground truth's."""
    asked = {}
    for each in judged:
        for question in each.asked.questions():
            box = None if each.lists.boxes is None else box_of(each.lists.boxes[question.row])
            box = box or (None if question.box is None else list(question.box))
            asked.setdefault(each.identity(question), (each.lists.query_names[question.row], box))
    return asked


def _answers(judged, chosen, top, photos):
    """query's own name -> its `Answer`, of the chosen ones."""
    lists, answers = judged.lists, {}
    for setting, questions in judged.asked.settings.items():
        marks, values = judged.marks(setting, top), judged.values[setting]
        for question, value, mark, record in zip(questions, values, marks, judged.records(setting), strict=True):
            name = judged.identity(question)
            if name not in chosen:
                continue
            if name not in answers:
                answers[name] = _answer(lists, question.row, top, photos)
            answers[name].settings[setting] = Judgement(
                ap=None if np.isnan(value) else float(value),
                positives=record["positives"],
                found=record["found"],
                first_hit=record["first_hit"],
                marks=mark,
            )
    return answers


def _answer(lists, row, top, photos):
    """One list as an `Answer`, not judged yet."""
    length = min(top, int(lists.lengths[row]))
    scores = [None] * length if lists.scores is None else lists.scores[row, :length].tolist()
    evidence, maps = (None if values is None else values[row, :length] for values in (lists.evidence, lists.maps))
    return Answer(
        photos.top(lists.names, lists.ids[row, :length].tolist(), scores), **looked_at(evidence, maps, lists.counts, lists.enough)
    )


def _chosen(names, judged, setting, most):
    """At most `most` queries, evenly spread over the values of the first run; in the order of `names`."""
    if len(names) <= most:
        return names
    values = dict(zip(map(judged.identity, judged.asked.settings[setting]), judged.values[setting], strict=True))
    ranked = sorted(names, key=lambda name: values.get(name, -1.0))
    kept = {ranked[place] for place in np.linspace(0, len(ranked) - 1, most).round().astype(int)}
    return [name for name in names if name in kept]


def _note(total, shown):
    if shown == total:
        return None
    return f"{shown} of {total} queries are shown, evenly spread from the worst to the best; the figures are of all"


def _run(judged, result):
    summary = list(result.measures.items())
    for name, (low, high) in result.intervals.items():
        place = next(place for place, (other, _) in enumerate(summary) if other == name)
        summary[place + 1 : place + 1] = [(f"{name} 95% low", low), (f"{name} 95% high", high)]
    summary += [(name, getattr(result, name)) for name in ("queries", "excluded", "skipped", "truncation")]
    curves = {setting: [round(value, 5) for value in curve.tolist()] for setting, curve in judged.curves().items()}
    return Run(result.label, summary, result.warnings, curves)


def _sentence(row):
    name = qualified(row["setting"], row["measure"])
    low, high = row["interval"]
    adjusted = f" ({row['p_adjusted']:.2g} adjusted by Holm's method)" if "p_adjusted" in row else ""
    return (
        f"{row['second']} against {row['first']}: {name} {row['difference']:+.4f} (95% {low:+.4f} to {high:+.4f}), "
        f"p = {row['p_value']:.2g}{adjusted} by the randomisation test on {row['queries']} queries; "
        f"better on {row['better']}, worse on {row['worse']}, the same on {row['same']}"
    )
