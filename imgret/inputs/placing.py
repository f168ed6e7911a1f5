"""Which photos match by where they were taken."""

import numpy as np

from imgret.errors import ImgretError, counted
from imgret.evaluation.protocols.places import DEGREES, ZONES, within
from imgret.formats.groundtruth import GALLERY, QUERY
from imgret.relations import NO_TRAVERSAL, Placed

_NONE = np.empty(0, dtype=np.int64)


def placed(names, places, found, near, far):
    """Relations of photos by their places.

    Parameters
    ----------
    names : list of bytes
    places : imgret.formats.places.Places
    found : dict of bytes to imgret.formats.places.Place
        Of some of the photos: what `places.of(names)` gives.
    near, far : float
        Metres.

    Returns
    -------
    imgret.relations.Placed
    list of str
        What is to be noted, a sentence each.

    Raises
    ------
    ImgretError
        If by their roles none asks, or none answers.
    """
    numbers = np.array([number for number, name in enumerate(names) if name in found], dtype=np.int64)
    there = [found[names[number]] for number in numbers.tolist()]
    coordinates = np.array([place[:2] for place in there])
    zone = _numbered([place.zone for place in there])
    roles = np.array([place.role for place in there])
    if places.roles:
        _check_roles(places.label, roles)
    notes = list(places.notes)
    if np.abs(coordinates).max() <= 180:
        notes.append(DEGREES)
    if len({place.zone for place in there}) > 1 and any(not place.zone for place in there):
        notes.append(ZONES)
    matching, all_of = np.flatnonzero(roles != 0), np.arange(len(there))  # a distractor matches nothing, and is a negative
    sets = []
    for wide, (radius, some) in enumerate(((near, matching), (far, all_of))):
        lists = [_NONE] * len(names)
        around = within(coordinates[some], zone[some], coordinates, zone, radius)
        for number, mine, match in zip(numbers.tolist(), around, roles != 0, strict=True):
            lists[number] = numbers[some[mine]] if match or wide else _NONE
        sets.append(lists)
    cells = np.column_stack([zone, np.floor(coordinates / far).astype(np.int64)])
    clusters = np.arange(len(names)) + len(there)
    clusters[numbers] = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
    relations = Placed(*sets, clusters, *_doing(len(names), numbers, roles, places.roles), _traversals(len(names), numbers, there))
    if places.roles and (lonely := np.count_nonzero(roles & QUERY) - len(relations.anchors())):
        which = f"{counted(lonely, 'photo')} that {'asks has' if lonely == 1 else 'ask have'}"
        notes.append(f"{which} no photo that answers within {near:g} m: left out")
    if left := len(names) - len(there):
        notes.append(f"{counted(left, 'photo')} without a position {'matches' if left == 1 else 'match'} nothing")
    return relations, notes


def _numbered(values):
    numbers = {value: number for number, value in enumerate(sorted(set(values)))}
    return np.array([numbers[value] for value in values])


def _check_roles(label, roles):
    for role, word, does, other in ((QUERY, "query", "asks", "queries"), (GALLERY, "gallery", "answers", "the database")):
        if not (roles & role).any():
            raise ImgretError(f"no photo to train on has the role {word} in {label}, so that none {does}: give the photos of {other} too")


def _doing(count, numbers, roles, said):
    """Which photos may ask, and which answer; None where it is not said."""
    if not said:
        return None, None
    asks, answers = np.zeros((2, count), dtype=bool)
    asks[numbers], answers[numbers] = roles & QUERY > 0, roles != QUERY
    return asks, answers


def _traversals(count, numbers, there):
    """The number of each photo's traversal; None where there is none."""
    words = {word: number for number, word in enumerate(sorted({place.traversal for place in there} - {b""}))}
    if not words:
        return None
    traversals = np.full(count, NO_TRAVERSAL, dtype=np.int64)
    traversals[numbers] = [words.get(place.traversal, NO_TRAVERSAL) for place in there]
    return traversals
