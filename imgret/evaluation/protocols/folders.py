"""Ground truth by folder: the photos of one folder match."""

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation.asking import Asking
from imgret.evaluation.protocols.base import CLASSIC, Protocol
from imgret.evaluation.questions import Group, ids_of
from imgret.evaluation.wording import FINITE_SUM, MEASURES, SELF_REMOVED, TRUNCATION, WHOLE, partial_gallery_warning
from imgret.formats.groundtruth import read_names
from imgret.formats.listfolder import read_folder

NO_FOLDER = "without a folder in the name"


class Folders(Protocol):
    """The first folder of a photo's name is its group.

    Positives of a query are the gallery photos whose names begin with the same folder, itself excluded. A gallery photo without a
    folder matches nothing; a query without one is skipped; a query that is alone in its folder is excluded from the means. The gallery
    is what the ranking store says was searched; for text rankings, which cannot say that, --truth may list its names.
    """

    name = "folders"
    takes_truth = True
    reported = (*CLASSIC, "r-precision", "map@r", "recall@1", "recall@2", "recall@4", "recall@8", "recall@10", "recall@100")
    truth_is = "optional: the names of the whole gallery, one per line"
    conventions = {
        "ap": FINITE_SUM,
        "positives": "gallery photos whose name begins with the same folder as the query's; queries without any are excluded",
        "query": SELF_REMOVED,
        "crop": WHOLE,
        "junk": "none",
        "truncation": TRUNCATION,
        "names": "exactly as they are; the group is what stands before the first slash",
        "measures": f"{MEASURES}; metric learning: recall@k is the part of queries with a positive in the first k (its R@1 is recall@1),"
        " r-precision the precision in the first R, R the number of positives, map@r MAP@R (Musgrave et al., ECCV 2020)",
    }

    def _read_folder(self, path, truth):
        known = None if truth is None else read_names(truth)
        return read_folder(path, folder_of, known=known)

    def names_in(self, lists, truth):
        """The names of the ground truth; see `Protocol.names_in`."""
        return lists.names if truth is None else read_names(truth)

    def keys(self, name):
        """All of it, and the folder; see `Protocol.keys`."""
        return name, folder_of(name)

    def ask(self, lists, truth):
        """What the ground truth asks of the lists; see `Protocol.ask`."""
        positions = lists.positions()
        gallery = lists.names if truth is None else read_names(truth)
        ids = ids_of(positions, gallery)
        if truth is not None and (ids < 0).all():
            raise ImgretError(f"{lists.label} and {truth} share no photo: the names of the gallery that was searched are needed")
        members = {}
        for photo, name in enumerate(gallery):
            if folder := folder_of(name):
                members.setdefault(folder, []).append(photo)
        members = {folder: Group(np.array(photos), ids, gallery) for folder, photos in members.items()}
        listed = set(gallery)

        asking = Asking(lists, skips=(NO_FOLDER,), excludes="without another gallery photo in the folder")
        for row, name in enumerate(lists.query_names):
            folder = folder_of(name)
            if not folder:
                asking.skip(NO_FOLDER)
                continue
            group, member = members.get(folder), name in listed
            if group is None or len(group.photos) == member:
                asking.exclude()
                continue
            asking.absent.update(other for other in group.absent if other != name)
            asking.add(group.asked_by(row, name, positions.get(name, -1), member))
        if truth is None:
            asking.remark(*partial_gallery_warning(lists, "give the gallery's names with --truth"))
        return asking.done()


def folder_of(name):
    """The first folder of a name, empty where it has none. The slash of an absolute path is no folder."""
    folder, slash, _ = name.lstrip(b"/").partition(b"/")
    return folder if slash else b""
