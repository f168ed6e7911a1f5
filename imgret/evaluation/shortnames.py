"""Photos and queries by their short names: without folders, extension and the prefix `oxc1_`, as the authors' ground truths write them."""

import numpy as np

from imgret.errors import ImgretError
from imgret.evaluation.wording import no_photo_shared
from imgret.names import short, shown


class ShortNames:
    """The gallery's photos that a ground truth names.

    Parameters
    ----------
    lists : imgret.formats.lists.RankedLists
    path : str
        The ground truth, for messages.
    wanted : set of bytes
        Short names.

    Attributes
    ----------
    ids : dict of bytes to int
        By short name: the gallery id, where the gallery has it.

    Raises
    ------
    ImgretError
        If the gallery has none of them, or two for one.
    """

    def __init__(self, lists, path, wanted):
        self.ids = {}
        for photo in _near(lists.names, wanted):
            stem = short(lists.names[photo])
            if stem in self.ids:
                first, second = shown(lists.names[self.ids[stem]]), shown(lists.names[photo])
                raise ImgretError(f"{lists.label} has two gallery photos that {path} calls {shown(stem)}: {first} and {second}; keep one")
            if stem in wanted:
                self.ids[stem] = photo
        if not self.ids:
            raise no_photo_shared(lists, path, min(wanted), "is this the ranking of another collection?")

    def of(self, keys):
        """Gallery ids of short names; those that the gallery has not are left out."""
        found = [self.ids[key] for key in keys if key in self.ids]
        return np.array(found, dtype=np.int64)


def _near(names, wanted):
    """Positions of all names whose short form may be among `wanted`: one cheap look at each, since there may be a million distractors."""
    everything = b"\0".join(names)
    if b"/" in everything:
        names = [name.rpartition(b"/")[2] for name in names]
    if b"oxc1_" in everything:
        names = [name.removeprefix(b"oxc1_") for name in names]
    heads = {name.partition(b".")[0] for name in wanted}
    return [photo for photo, name in enumerate(names) if name.partition(b".")[0] in heads]


class Rows:
    """The lists of a ranking by the query's own name or its photo's, in their short forms.

    Parameters
    ----------
    lists : imgret.formats.lists.RankedLists
    """

    def __init__(self, lists):
        self._lists, self._by_id, self._by_photo = lists, {}, {}
        for row, (query_id, photo) in enumerate(zip(lists.query_ids, lists.query_names, strict=True)):
            self._by_id.setdefault(short(query_id), []).append(row)
            self._by_photo.setdefault(short(photo), []).append(row)

    def of(self, label, photo):
        """The list of a query: the one called by its own name, or else the one of its photo; None where there is none.

        Raises
        ------
        ImgretError
            If there are two.
        """
        for found in (self._by_id.get(short(label)), self._by_photo.get(short(label)), self._by_photo.get(short(photo))):
            if found and len(found) > 1:
                first, second = (shown(self._lists.query_ids[row]) for row in found[:2])
                raise ImgretError(f"{self._lists.label} has two lists for query {shown(label)} ({first} and {second}): keep one")
            if found:
                return found[0]
        return None
