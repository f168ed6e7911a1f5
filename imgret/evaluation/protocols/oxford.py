"""Oxford5k (Philbin et al., CVPR 2007) and Paris6k (Philbin et al., CVPR 2008) with their text ground truth."""

from imgret.errors import ImgretError
from imgret.evaluation import lists as ranked
from imgret.evaluation.groundtruth import read_oxford
from imgret.evaluation.measures import average_precision_trapezoid
from imgret.evaluation.names import bare, last_part, shown
from imgret.evaluation.protocols.base import (
    MEASURES,
    TRAPEZOID,
    TRUNCATION,
    Protocol,
    Question,
    absent_warning,
    counted,
    ids_of,
    unasked_warning,
)


class Oxford5k(Protocol):
    """The official protocol: good and ok photos are positives, junk is passed over, the query stays in its list.

    Average precision is the trapezoid area that the official `compute_ap` gives. A junk photo is taken out of the list and the ranks
    behind it close up. The query photo is in the gallery and, being good, counts as a positive. Whether only the box of the query was
    described is the extraction's affair. A list belongs to the query whose name (`all_souls_1`) or whose photo it is called by.
    """

    name = "oxford5k"
    needs_truth = takes_truth = True
    truth_is = "the folder of the text ground truth (*_query.txt, *_good.txt, *_ok.txt, *_junk.txt)"
    conventions = {
        "ap": TRAPEZOID,
        "positives": "good and ok, whether the gallery has them or not; queries without any are excluded",
        "query": "the query photo stays in its list and counts as the positive that it is",
        "junk": "taken out of the list; the ranks behind it close up",
        "truncation": TRUNCATION,
        "names": "without folders, with or without extension and the prefix oxc1_",
        "measures": MEASURES,
    }

    def _read_folder(self, path, truth):
        truth = read_oxford(truth)
        return ranked.read_folder(path, [name for query in truth for name in (query.label, query.photo)])

    def _evaluate(self, lists, truth):
        path, truth = truth, read_oxford(truth)
        lists.positions()  # refuses two gallery photos of one name
        keys, twice = {}, {}
        for photo, name in enumerate(lists.names):
            key = _key(name)
            if key in keys:
                twice.setdefault(key, photo)
            else:
                keys[key] = photo
        rows = _rows(lists)
        questions, absent, excluded, taken = [], set(), 0, set()
        unasked = 0
        for query in truth:
            row = _row_of(lists, rows, query)
            if row is None:
                unasked += 1
                continue
            taken.add(row)
            if not query.positives:
                excluded += 1
                continue
            positives, junk = ({_key(name) for name in names} for names in (query.positives, query.junk))
            for key in sorted((positives | junk) & twice.keys()):
                first, second = shown(lists.names[keys[key]]), shown(lists.names[twice[key]])
                raise ImgretError(f"{lists.label} has two gallery photos that {path} calls {shown(key)}: {first} and {second}; keep one")
            known = ids_of(keys, sorted(positives))
            absent |= positives - keys.keys()
            removed = ids_of(keys, sorted(junk))
            questions.append(Question(row, query.label, len(positives), known[known >= 0], removed[removed >= 0]))
        skipped = len(lists.query_names) - len(taken)
        if not taken:
            raise ImgretError(
                f"{lists.label} and {path} share no query: the ranking asks with {shown(min(lists.query_names))},"
                f" the ground truth with {shown(truth[0].label)} (photo {shown(truth[0].photo)}); name queries by either"
            )
        named = {_key(name) for query in truth for name in (query.photo, *query.positives, *query.junk)}
        if not named & keys.keys():
            if not lists.names:
                raise ImgretError(f"{lists.label} holds only empty lists: there is nothing to evaluate")
            raise ImgretError(
                f"{lists.label} and {path} share no photo: the ranking has {shown(min(lists.names))},"
                f" the ground truth {shown(min(named))}; is this the ranking of another collection?"
            )
        warnings = []
        if skipped:
            warnings.append(f"{counted(skipped, 'query')} of the ranking not in the ground truth: skipped")
        if excluded:
            warnings.append(f"{counted(excluded, 'query')} without positives in the ground truth: excluded")
        warnings += unasked_warning(unasked)
        warnings += absent_warning(absent)
        return self._result(lists, questions, average_precision_trapezoid, warnings, excluded=excluded, skipped=skipped)


class Paris6k(Oxford5k):
    """Paris6k: the protocol of Oxford5k with the ground truth of Paris.

    Average precision by trapezoids, junk passed over, the query left in its list. The ground truth names some photos that the collection's
    authors have since declared broken; a positive that is not in the gallery counts as never found.
    """

    name = "paris6k"


def _key(name):
    return bare(last_part(name))


def _rows(lists):
    """(query's own name, photo) -> rows, both in their short form."""
    by_id, by_photo = {}, {}
    for row, (query_id, photo) in enumerate(zip(lists.query_ids, lists.query_names, strict=True)):
        by_id.setdefault(_key(query_id), []).append(row)
        by_photo.setdefault(_key(photo), []).append(row)
    return by_id, by_photo


def _row_of(lists, rows, query):
    """The list of a query: the one called by its own name, or else the one of its photo."""
    by_id, by_photo = rows
    for found in (by_id.get(_key(query.label)), by_photo.get(_key(query.label)), by_photo.get(_key(query.photo))):
        if found and len(found) > 1:
            first, second = (shown(lists.query_ids[row]) for row in found[:2])
            raise ImgretError(f"{lists.label} has two lists for query {shown(query.label)} ({first} and {second}): keep one")
        if found:
            return found[0]
    return None
