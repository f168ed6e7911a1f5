"""Oxford5k (Philbin et al., CVPR 2007) and Paris6k (Philbin et al., CVPR 2008) with their text ground truth."""

from imgret.evaluation.asking import Asking
from imgret.evaluation.measures import average_precision_trapezoid
from imgret.evaluation.protocols.base import Protocol
from imgret.evaluation.questions import Question
from imgret.evaluation.shortnames import Rows, ShortNames
from imgret.evaluation.wording import CROP, MEASURES, TRAPEZOID, TRUNCATION, no_query_shared
from imgret.formats.groundtruth import read_oxford
from imgret.formats.listfolder import read_folder
from imgret.names import short, shown

UNLISTED = "not in the ground truth"


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
    truth_is = "the folder of the text ground truth (*_query.txt, *_good.txt, *_ok.txt, *_junk.txt; or gnd_*.pkl or .json)"
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

    def names_in(self, lists, truth):
        """The names of the ground truth; see `Protocol.names_in`."""
        return {name for query in read_oxford(truth) for name in (query.label, query.photo, *query.positives, *query.junk)}

    def keys(self, name):
        """The name without folders and extension; see `Protocol.keys`."""
        return (short(name),)

    def ask(self, lists, truth):
        """What the ground truth asks of the lists; see `Protocol.ask`."""
        path, truth = truth, read_oxford(truth)
        lists.check_names()
        rows = Rows(lists)
        row_of = {query.label: row for query in truth if (row := rows.of(query.label, query.photo)) is not None}
        if not row_of:
            raise no_query_shared(lists, path, truth[0].label, f" (photo {shown(truth[0].photo)}); name queries by either")
        gallery = ShortNames(lists, path, {short(name) for query in truth for name in (query.photo, *query.positives, *query.junk)})
        asking = Asking(lists, skips=(UNLISTED,), excludes="without positives in the ground truth")
        asking.answered(row_of.values(), len(truth), UNLISTED)
        for query in truth:
            if query.label not in row_of:
                continue
            if not query.positives:
                asking.exclude()
                continue
            positives, junk = ({short(name) for name in names} for names in (query.positives, query.junk))
            lacking = positives - gallery.ids.keys()
            asking.absent.update(lacking)
            ids, removed = gallery.of(sorted(positives)), gallery.of(sorted(junk))
            photo = short(query.photo)
            own, itself = gallery.ids.get(photo, -1), photo in positives
            lacking = tuple(sorted(lacking))
            asking.add(Question(row_of[query.label], query.label, len(positives), ids, removed, own, lacking, itself, query.box))
        return asking.done()


class Paris6k(Oxford5k):
    """Paris6k: the protocol of Oxford5k with the ground truth of Paris.

    Average precision by trapezoids, junk passed over, the query left in its list. The ground truth names some photos that the collection's
    authors have since declared broken; a positive that is not in the gallery counts as never found.
    """

    name = "paris6k"
