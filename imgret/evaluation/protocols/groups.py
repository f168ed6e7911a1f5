"""Ground truth as a CSV of groups."""

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation.asking import Asking
from imgret.evaluation.protocols.base import Protocol
from imgret.evaluation.questions import Group, ids_of
from imgret.evaluation.wording import FINITE_SUM, MEASURES, SELF_REMOVED, TRUNCATION, WHOLE, no_photo_shared, no_query_shared
from imgret.formats.groundtruth import GALLERY, QUERY, read_groups
from imgret.formats.listfolder import read_folder

UNLISTED, SILENT = "not in the ground truth", "whose role in the ground truth is not query"


class Groups(Protocol):
    """Photos of one group match: a CSV names each photo's groups and role.

    A photo with the role query asks, one with the role gallery counts; query+gallery does both, and so does every photo where there is
    no role column. Positives of a query are the gallery photos that share one of its groups, itself excluded; its own photo and every
    photo whose role is only query are taken out of the list. A distractor, and a gallery photo that the CSV does not name, stays in
    the list and matches nothing. A query that the CSV does not name or whose role is not query is skipped; one without positives is
    excluded from the means; both are counted. A photo that asks several times is that many queries.
    """

    name = "groups"
    needs_truth = takes_truth = True
    truth_is = "a CSV with the header image,group or image,group,role"
    conventions = {
        "ap": FINITE_SUM,
        "positives": "photos with the role gallery that share a group with the query, found or not; queries without any are excluded",
        "query": SELF_REMOVED,
        "crop": WHOLE,
        "junk": "photos whose role is only query are taken out of every list; distractors and unlisted photos stay and match nothing",
        "truncation": TRUNCATION,
        "names": "exactly as in the CSV",
        "measures": MEASURES,
    }

    def _read_folder(self, path, truth):
        truth = read_groups(truth)
        asking = [name for name, role in zip(truth.names, truth.roles, strict=True) if role & QUERY]
        return read_folder(path, asking, known=truth.names)

    def names_in(self, lists, truth):
        """The names of the ground truth; see `Protocol.names_in`."""
        return read_groups(truth).names

    def ask(self, lists, truth):
        """What the ground truth asks of the lists; see `Protocol.ask`."""
        path, truth = truth, read_groups(truth)
        positions = lists.positions()
        photo_of = {name: photo for photo, name in enumerate(truth.names)}
        ids = ids_of(positions, truth.names)
        roles = np.array(truth.roles)
        self._check_shared(lists, path, truth, photo_of, ids)

        members = {}
        for photo in np.flatnonzero(roles & GALLERY):
            for group in truth.groups[photo]:
                members.setdefault(group, []).append(photo)
        sets = {}  # by the groups of a photo, of which there are mostly few

        asking = Asking(lists, skips=(UNLISTED, SILENT), excludes="without positives in the ground truth")
        asked = set()
        for row, name in enumerate(lists.query_names):
            photo = photo_of.get(name)
            if photo is None:
                asking.skip(UNLISTED)
                continue
            if not roles[photo] & QUERY:
                asking.skip(SILENT)
                continue
            asked.add(photo)
            groups = truth.groups[photo]
            if groups not in sets:
                photos = sorted(set().union(*(members.get(group, ()) for group in groups)))
                sets[groups] = Group(np.array(photos, dtype=np.int64), ids, truth.names)
            member = bool(roles[photo] & GALLERY and groups)
            if len(sets[groups].photos) == member:
                asking.exclude()
                continue
            asking.absent.update(other for other in sets[groups].absent if other != name)
            asking.add(sets[groups].asked_by(row, name, int(ids[photo]), member))
        asking.unasked(np.count_nonzero(roles & QUERY) - len(asked))
        asking.take_out(ids[(roles == QUERY) & (ids >= 0)])
        return asking.done()

    @staticmethod
    def _check_shared(lists, path, truth, photo_of, ids):
        remedy = "write the names in the ground truth as the ranking has them, or give extract and search another --root"
        counts, asks = ([name for name, role in zip(truth.names, truth.roles, strict=True) if role & kind] for kind in (GALLERY, QUERY))
        if not counts:
            raise ImgretError(f"{path} has no photo with the role gallery: nothing can match")
        if (ids < 0).all():
            raise no_photo_shared(lists, path, min(counts), remedy)
        if not asks:
            raise ImgretError(f"{path} has no photo with the role query: nothing can be asked")
        if not any(name in photo_of for name in lists.query_names):
            raise no_query_shared(lists, path, min(asks), f"; {remedy}")
