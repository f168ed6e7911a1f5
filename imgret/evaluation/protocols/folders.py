"""Ground truth by folder: the photos of one folder match."""

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation.protocols.base import (
    CLASSIC,
    FINITE_SUM,
    MEASURES,
    SELF_REMOVED,
    TRUNCATION,
    WHOLE,
    Group,
    Protocol,
    absent_warning,
    ids_of,
    noted,
    partial_gallery_warning,
)
from imgret.evaluation.questions import Asked
from imgret.formats.groundtruth import read_names
from imgret.formats.listfolder import read_folder


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

    def ask(self, lists, truth):
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

        questions, absent = [], set()
        skipped = excluded = 0
        for row, name in enumerate(lists.query_names):
            folder = folder_of(name)
            if not folder:
                skipped += 1
                continue
            group, member = members.get(folder), name in listed
            if group is None or len(group.photos) == member:
                excluded += 1
                continue
            absent.update(other for other in group.absent if other != name)
            questions.append(group.asked_by(row, name, positions.get(name, -1), member))

        warnings = []
        warnings += noted(skipped, "query", "of the ranking without a folder in the name: skipped")
        warnings += noted(excluded, "query", "without another gallery photo in the folder: excluded")
        absent = sorted(absent)
        warnings += absent_warning(absent)
        if truth is None:
            warnings += partial_gallery_warning(lists, "give the gallery's names with --truth")
        return Asked({"": questions}, {"": excluded}, excluded, skipped, absent, warnings=warnings)


def folder_of(name):
    """The first folder of a name, empty where it has none. The slash of an absolute path is no folder."""
    folder, slash, _ = name.lstrip(b"/").partition(b"/")
    return folder if slash else b""
