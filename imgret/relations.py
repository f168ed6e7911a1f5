"""Which photos match which: what training learns from, whatever kind of truth said so.

Photos are numbers here, from 0; nothing is known of files.
"""

import numpy as np

NO_CLASS = NO_TRAVERSAL = -1
_NONE = np.empty(0, dtype=np.int64)


def _without(photos, photo):
    return photos[photos != photo]


class Relations:
    """Base: nothing is known, and a photo matches only other views of itself.

    Arrays that are given are not to be changed.

    Parameters
    ----------
    count : int
        Photos.

    Attributes
    ----------
    classes : ndarray, shape (count,), int64, or None
        The one class of each photo, `NO_CLASS` where it has none; None where photos cannot be divided into classes.
    clusters : ndarray, shape (count,), int64
        Photos that are alike, by number: of several negatives each is of another cluster. A photo that is like no other has its own.
    measure : str
        What a network is judged by on such photos: "map", or "recall@1" where any photo that matches will do.
    certain : bool
        Whether photos that match show the same; otherwise they may.
    lonely : str
        What is said of photos none of which matches another.
    alike : str
        What is said of photos none of which is a negative of another.
    """

    measure = "map"
    certain = True
    lonely = "no photo to train on matches another one: groups of one photo teach nothing; give other photos or another truth"
    alike = "all photos to train on are of one group: there are no negatives; give photos of at least two"

    def __init__(self, count):
        self.count, self.classes = count, None
        self.clusters = np.arange(count)

    def __len__(self):
        return self.count

    def positives(self, photo):
        """Photos that match one, ascending, without itself: ndarray of int64. Without any, its other views are what matches."""
        return _NONE

    def never(self, photo):
        """Photos that are no negatives of one, ascending: those that match, itself, and those of which it is not said."""
        return np.array([photo], dtype=np.int64)

    def anchors(self):
        """Photos that have a positive, ascending: without labels all."""
        return np.arange(self.count)

    def askers(self):
        """Photos that may ask where one that matches no other may: for its own views; ascending."""
        return np.arange(self.count)

    def answers(self):
        """Photos that may be matched or told apart from others, ascending: all, but those that only ask."""
        return np.arange(self.count)

    def ignored(self, photo):
        """Photos that are neither right nor wrong where one asks, ascending: without it, and mostly none."""
        return _NONE


def hanging_together(count, related):
    """What hangs together, by one or over several.

    Parameters
    ----------
    count : int
        Photos.
    related : iterable of (int, ndarray of int)
        A photo, and photos that it goes with.

    Returns
    -------
    ndarray, shape (count,), int64
        For each photo the lowest that it hangs together with: perhaps itself.
    """
    lowest = np.arange(count)

    def root(photo):
        while lowest[photo] != photo:
            lowest[photo] = lowest[lowest[photo]]
            photo = int(lowest[photo])
        return photo

    for photo, others in related:
        for other in others.tolist():
            one, two = root(photo), root(other)
            lowest[max(one, two)] = min(one, two)
    return np.array([root(photo) for photo in range(count)], dtype=np.int64)


class Grouped(Relations):
    """Photos match where they share a group.

    Parameters
    ----------
    groups : sequence of tuple of int
        The groups of each photo, by number; () matches nothing.
    """

    def __init__(self, groups):
        super().__init__(len(groups))
        self.groups = [tuple(dict.fromkeys(each)) for each in groups]
        members = {}
        for photo, each in enumerate(self.groups):
            for group in each:
                members.setdefault(group, []).append(photo)
        self.members = {group: np.array(photos, dtype=np.int64) for group, photos in members.items()}
        alone = max(self.members, default=-1) + 1
        self.clusters = np.array([each[0] if each else alone + photo for photo, each in enumerate(self.groups)], dtype=np.int64)
        if all(len(each) <= 1 for each in self.groups):
            self.classes = np.array([each[0] if each else NO_CLASS for each in self.groups], dtype=np.int64)

    def positives(self, photo):
        """Photos that share a group with one; see `Relations`."""
        return _without(self._sharing(photo), photo)

    def never(self, photo):
        """Those, and itself; see `Relations`."""
        return self._sharing(photo) if self.groups[photo] else super().never(photo)

    def _sharing(self, photo):
        # of one group, as nearly always, nothing is made
        found = [self.members[group] for group in self.groups[photo]]
        return found[0] if len(found) == 1 else np.unique(np.concatenate([_NONE, *found]))

    def anchors(self):
        """Photos that share a group; see `Relations`."""
        return np.array(
            [photo for photo, each in enumerate(self.groups) if any(len(self.members[group]) > 1 for group in each)], dtype=np.int64
        )


class Linked(Relations):
    """Photos match in pairs; what hangs together by pairs is never a negative of another.

    Parameters
    ----------
    count : int
    pairs : iterable of (int, int)
    """

    def __init__(self, count, pairs):
        super().__init__(count)
        links = {}
        for one, other in pairs:
            if one == other:
                continue
            links.setdefault(one, set()).add(other)
            links.setdefault(other, set()).add(one)
        self.links = {photo: np.array(sorted(others), dtype=np.int64) for photo, others in links.items()}
        self.clusters = hanging_together(count, self.links.items())
        order = np.argsort(self.clusters, kind="stable")
        clusters, starts = np.unique(self.clusters[order], return_index=True)
        self._members = dict(zip(clusters.tolist(), np.split(order, starts[1:]), strict=True)) if count else {}

    def positives(self, photo):
        """Photos that one is paired with; see `Relations`."""
        return self.links.get(photo, _NONE)

    def never(self, photo):
        """Photos that one hangs together with; see `Relations`."""
        return self._members[int(self.clusters[photo])]

    def anchors(self):
        """Photos that are paired; see `Relations`."""
        return np.array(sorted(self.links), dtype=np.int64)


class Placed(Relations):
    """Photos match where they were taken near each other, and are negatives where they were taken far apart.

    Where photos have roles, those that ask match those that answer, and one that asks without a match does not ask. Where they are of
    traversals, near ones of one traversal are alike without showing anything: they neither match nor are negatives.

    Parameters
    ----------
    near, around : list of ndarray
        Per photo: those within the radius of positives, and within the wider one beyond which photos are negatives; ascending, perhaps with
        itself.
    clusters : ndarray, shape (N,), int64
        The place of each photo, roughly.
    asks, answers : ndarray, shape (N,), bool, optional
        Photos that may ask, and those that may be positives or negatives: by default all do both.
    traversals : ndarray, shape (N,), int64, optional
        The traversal of each photo, `NO_TRAVERSAL` where it is of none.
    """

    measure = "recall@1"
    certain = False
    lonely = (
        "no photo to train on that may ask has one within `near` metres that may answer it, of another traversal where there are any: set "
        "a larger `near`, or give more photos"
    )
    alike = (
        "all photos to train on were taken within `far` metres of each other: there are no negatives; set `far` lower, or give photos of "
        "more places"
    )

    def __init__(self, near, around, clusters, asks=None, answers=None, traversals=None):
        super().__init__(len(near))
        self._near, self._around, self.clusters = near, around, np.asarray(clusters, dtype=np.int64)
        self._asks, self._answers, self._traversals = asks, answers, traversals

    def positives(self, photo):
        """Photos taken near one, of those that answer, and of another traversal; see `Relations`."""
        near = _without(self._near[photo], photo)
        if self._answers is not None:
            near = near[self._answers[near]]
        return near if self._traversals is None else near[~self._with(photo, near)]

    def never(self, photo):
        """Photos taken around one; see `Relations`."""
        around = self._around[photo]
        place = np.searchsorted(around, photo)
        return around if place < len(around) and around[place] == photo else np.insert(around, place, photo)

    def ignored(self, photo):
        """Photos of its traversal taken near one; see `Relations`."""
        if self._traversals is None:
            return _NONE
        near = _without(self._near[photo], photo)
        return near[self._with(photo, near)]

    def _with(self, photo, near):
        """Which of some photos are of one's traversal."""
        own = self._traversals[photo]
        return (self._traversals[near] == own) & (own != NO_TRAVERSAL)

    def anchors(self):
        """Photos that may ask, and have another one near that answers; see `Relations`."""
        asking = range(self.count) if self._asks is None else np.flatnonzero(self._asks).tolist()
        return np.array([photo for photo in asking if len(self.positives(photo))], dtype=np.int64)

    def askers(self):
        """All photos, or where they have roles the anchors; see `Relations`."""
        return super().askers() if self._asks is None else self.anchors()

    def answers(self):
        """See `Relations`."""
        return super().answers() if self._answers is None else np.flatnonzero(self._answers)
