"""Oxford5k (Philbin et al., CVPR 2007) and Paris6k (Philbin et al., CVPR 2008) with their text ground truth."""

from imgret.errors import ImgretError
from imgret.evaluation.measures import average_precision_trapezoid
from imgret.evaluation.protocols.base import (
    CROP,
    MEASURES,
    TRAPEZOID,
    TRUNCATION,
    Protocol,
    absent_warning,
    noted,
    unasked_warning,
)
from imgret.evaluation.protocols.shortnames import Rows, ShortNames
from imgret.evaluation.questions import Asked, Question
from imgret.formats.groundtruth import read_oxford
from imgret.formats.listfolder import read_folder
from imgret.names import short, shown


class Oxford5k(Protocol):
    """The official protocol: good and ok photos are positives, junk is passed over, the query stays in its list.

    Average precision is the trapezoid area that the official `compute_ap` gives. A junk photo is taken out of the list and the ranks
    behind it close up. The query photo is in the gallery and, being good, counts as a positive. Whether only the box of the query was
    described is the extraction's affair. A list belongs to the query whose name (`all_souls_1`) or whose photo it is called by.
    """

    name = "oxford5k"
    needs_truth = takes_truth = True
    average_precision = staticmethod(average_precision_trapezoid)
    removes_query = False
    truth_is = "the folder of the text ground truth (*_query.txt, *_good.txt, *_ok.txt, *_junk.txt)"
    conventions = {
        "ap": TRAPEZOID,
        "positives": "good and ok, whether the gallery has them or not; queries without any are excluded",
        "query": "the query photo stays in its list and counts as the positive that it is",
        "crop": CROP,
        "junk": "taken out of the list; the ranks behind it close up",
        "truncation": TRUNCATION,
        "names": "without folders, with or without extension and the prefix oxc1_",
        "measures": MEASURES,
    }

    def _read_folder(self, path, truth):
        truth = read_oxford(truth)
        return read_folder(path, [name for query in truth for name in (query.label, query.photo)])

    def ask(self, lists, truth):
        path, truth = truth, read_oxford(truth)
        lists.check_names()
        rows = Rows(lists)
        asking = {query.label: row for query in truth if (row := rows.of(query.label, query.photo)) is not None}
        if not asking:
            raise ImgretError(
                f"{lists.label} and {path} share no query: the ranking asks with {shown(min(lists.query_names))},"
                f" the ground truth with {shown(truth[0].label)} (photo {shown(truth[0].photo)}); name queries by either"
            )
        gallery = ShortNames(lists, path, {short(name) for query in truth for name in (query.photo, *query.positives, *query.junk)})
        questions, absent, excluded = [], set(), 0
        for query in truth:
            if query.label not in asking:
                continue
            if not query.positives:
                excluded += 1
                continue
            positives, junk = ({short(name) for name in names} for names in (query.positives, query.junk))
            lacking = positives - gallery.ids.keys()
            absent |= lacking
            ids, removed = gallery.of(sorted(positives)), gallery.of(sorted(junk))
            photo = short(query.photo)
            own, itself = gallery.ids.get(photo, -1), photo in positives
            questions.append(
                Question(asking[query.label], query.label, len(positives), ids, removed, own, tuple(sorted(lacking)), itself, query.box)
            )
        skipped = len(lists.query_names) - len(set(asking.values()))
        warnings = []
        warnings += noted(skipped, "query", "of the ranking not in the ground truth: skipped")
        warnings += noted(excluded, "query", "without positives in the ground truth: excluded")
        warnings += unasked_warning(len(truth) - len(asking))
        warnings += absent_warning(absent)
        return Asked({"": questions}, {"": excluded}, excluded, skipped, sorted(absent), warnings=warnings)


class Paris6k(Oxford5k):
    """Paris6k: the protocol of Oxford5k with the ground truth of Paris.

    Average precision by trapezoids, junk passed over, the query left in its list. The ground truth names some photos that the collection's
    authors have since declared broken; a positive that is not in the gallery counts as never found.
    """

    name = "paris6k"
